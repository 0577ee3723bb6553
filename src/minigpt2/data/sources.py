"""Find the files an input means: files, folders, globs, standard input, data sets by name or URL.

Order is that of the names, so that the same folder is the same text everywhere.
"""

import difflib
import glob
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from minigpt2.data.download import DATASETS, fetch, is_address
from minigpt2.data.readers import FORMATS, Source, endings, read_source, source_of
from minigpt2.data.recipe import Recipe
from minigpt2.errors import DataError, InputMissingError, UsageError
from minigpt2.files import has_our_manifest, storage_errors

Say = Callable[[str], None]

# The corpora that travel in the package; the files lie beside this one.
EMBEDDED = {"shakespeare": "shakespeare.txt"}


def find_sources(inputs: Iterable[str], scratch_dir: Path, form: str, say: Say) -> list[Source]:
    """Return the files that `inputs` mean, each once; a path that exists wins over a name.

    Standard input ("-") and named pipes are copied into `scratch_dir`. `form` other than "auto"
    says how every file is to be read. Raises InputMissingError for what is not there.
    """
    found: dict[Path, Source] = {}
    for number, name in enumerate(inputs):
        for source in _expand(name, scratch_dir / f"input-{number}", say):
            chosen = source if form == "auto" else replace(source, format=form)
            found.setdefault(source.path.resolve(), chosen)
    if not found:
        raise UsageError("no input: give a file, a folder, a data set's name, or - for a pipe")
    return list(found.values())


def read_text(name: str) -> str:
    """Return the text of a file, a folder or a data set, e.g. the embedded "shakespeare".

    Documents follow one another without a separator. Raises InputMissingError for what is not
    there, DataError for what is not text.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        sources = find_sources([name], Path(scratch), "auto", lambda line: None)
        pieces = (piece for source in sources for piece in read_source(source, Recipe(), Counter()))
        return "".join(piece.prompt + piece.text for piece in pieces)


def _expand(name: str, spool: Path, say: Say) -> Iterator[Source]:
    path = Path(name)
    if name == "-":
        yield Source(_spooled(sys.stdin.buffer, spool), "standard input")
    elif is_address(name):
        yield from _fetched(name, name, say)
    elif path.is_dir():
        yield from _folder(path, say)
    elif path.is_fifo():
        say(f"{name} is a pipe: reading what is written to it")
        with path.open("rb") as pipe:
            yield source_of(_spooled(pipe, spool), name)
    elif path.is_file():
        yield source_of(path, name)
    elif path.exists():
        raise DataError(f"{name} is a device; give a file, a folder or a pipe")
    elif glob.has_magic(name) and (matches := glob.glob(name, recursive=True)):  # noqa: PTH207
        found = (source_of(Path(match), match) for match in sorted(matches))
        yield from (source for source in found if source.path.is_file())
    elif name in EMBEDDED:
        yield Source(Path(__file__).parent / EMBEDDED[name], name)
    elif name in DATASETS:
        yield from _fetched(name, DATASETS[name], say)
    else:
        raise InputMissingError(_nothing_named(name))


def _nothing_named(name: str) -> str:
    names = [*EMBEDDED, *DATASETS]
    folder = Path(name).parent
    beside = [str(folder / path.name) for path in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(name, [*names, *beside], n=1)
    hint = f"did you mean {close[0]}?" if close else f"data sets: {', '.join(names)}"
    return f"no file, folder or data set {name}; {hint}"


def _fetched(name: str, address: str, say: Say) -> Iterator[Source]:
    return (source_of(path, f"{name}/{path.name}") for path in fetch(name, address, say))


def _spooled(stream, path: Path) -> Path:
    """Copy a stream to a file: it is read more than once."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
    return path


def _folder(folder: Path, say: Say) -> Iterator[Source]:
    passed_over: Counter[str] = Counter()
    found = 0
    for path in _walk(folder, set()):
        suffix, _ = endings(path.name)
        if path.is_file() and suffix in FORMATS:
            found += 1
            yield source_of(path, str(path))
        else:
            passed_over[suffix or path.name] += 1
    if passed_over:
        kinds = ", ".join(f"{count} {kind}" for kind, count in passed_over.most_common(8))
        say(f"{folder}: passed over {kinds}")
    if not found:
        known = " ".join(FORMATS)
        raise InputMissingError(f"{folder} holds no text: looked for {known}, also compressed")


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the files under `folder` in order; links are followed, but no folder twice.

    Hidden names and what minigpt2 itself prepared or trained are left alone.
    """
    try:
        status, paths = folder.stat(), sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise InputMissingError(f"{folder} cannot be read: {error.strerror}") from None
    key = (status.st_dev, status.st_ino)
    a_run = {"config.yaml", "run.json"} <= {path.name for path in paths}
    if key in seen or a_run or has_our_manifest(folder):
        return
    seen.add(key)
    for path in paths:
        if not path.name.startswith("."):
            yield from _walk(path, seen) if path.is_dir() else [path]
