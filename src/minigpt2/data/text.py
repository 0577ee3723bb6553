"""A whole text at once, for those whom one string is enough."""

import tempfile
from pathlib import Path

from minigpt2.data.readers import read_source
from minigpt2.data.recipe import Recipe
from minigpt2.data.sources import find_sources


def read_text(name: str) -> str:
    """Return the text of a file, a folder or a data set, e.g. the embedded "shakespeare".

    Documents follow one another without a separator. Raises InputMissingError for what is not
    there, DataError for what is not text.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        sources = find_sources([name], Path(scratch), "auto", lambda line: None)
        pieces = (piece for source in sources for piece in read_source(source, Recipe()))
        return "".join(piece.prompt + piece.text for piece in pieces)
