"""What flows from the readers to the shards: documents, in pieces small enough for any memory.

A document is one piece, or, if it is long, several: each begins with the white space after a word,
so our tokenizers give the pieces the ids they would give the whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# What fits the caches: pieces four times as long are encoded a fifth more slowly.
PIECE_CHARACTERS = 1 << 18


@dataclass(slots=True)  # not frozen: one is made for every record, and that would cost thrice
class Piece:
    """Part of a document, or all of it: `first` and `last` say where it stands.

    `prompt` is text that a model is given and never learns to say. Documents of one
    `conversation`, whose turns they are, fall to one split; `held_out` ones, of validation files,
    to validation. A `bad` piece ends a document that could not be read and is to be left out.
    `source` and `offset`, in characters, are for messages.
    """

    text: str
    prompt: str = ""
    first: bool = True
    last: bool = True
    bad: bool = False
    held_out: bool = False
    conversation: str = ""
    source: str = ""
    offset: int = 0


def as_pieces(texts: Iterable[str], source: str) -> Iterator[Piece]:
    """Turn one document, coming in any chunks, into pieces."""
    held, offset = "", 0
    for text in texts:
        held += text
        while len(held) > PIECE_CHARACTERS:
            cut = safe_cut(held[:PIECE_CHARACTERS])
            yield Piece(held[:cut], first=offset == 0, last=False, source=source, offset=offset)
            held, offset = held[cut:], offset + cut
    yield Piece(held, first=offset == 0, source=source, offset=offset)


def safe_cut(text: str) -> int:
    """Return where to cut: before a line end, else before a blank, that follows a word's end.

    No word of GPT-2's pattern reaches from what is no white space into what is. A text without
    such a place is cut at its end.

    >>> safe_cut("one two"), safe_cut("one\\n\\ntwo three"), safe_cut("one")
    (3, 3, 3)
    """
    for separator in "\n", " ":
        place = text.rfind(separator)
        # Nor after a control character, which cleaning may take away.
        while place > 0 and (text[place - 1] == " " or not text[place - 1].isprintable()):
            place = text.rfind(separator, 0, place)
        if place > 0:
            return place
    return len(text)
