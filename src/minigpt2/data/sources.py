"""Find the files an input means: files, folders, globs, standard input, data sets by name or URL.

Order is that of the names, so that the same folder is the same text everywhere. Data sets that lie
elsewhere are fetched once into the user's cache, resumed, verified; huggingface_hub does that, with
its progress bars, retries, proxies and offline mode.
"""

import contextlib
import difflib
import errno
import glob
import hashlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from minigpt2.data.documents import Recipe
from minigpt2.data.readers import FORMATS, Source, endings, read_source, source_of
from minigpt2.errors import DataError, InputMissingError, UnavailableError, UsageError
from minigpt2.files import cache_dir, facts, has_our_manifest, sha256_of, storage_errors

Say = Callable[[str], None]

# The corpora that travel in the package; the files lie beside this one.
EMBEDDED = {"shakespeare": "shakespeare.txt"}
DATASETS: dict[str, str] = facts(__file__)


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


def is_address(name: str) -> bool:
    """Say whether `name` is a URL that can be fetched."""
    return name.startswith(("http://", "https://", "hf://datasets/"))


def fetch(name: str, address: str, say: Callable[[str], None]) -> list[Path]:
    """Return local copies of what `address` names, fetching what is not there yet.

    A copy laid under the cache's `datasets/` folder by hand is used as it is, its hash checked
    where one is known. Raises InputMissingError, saying what to place where, if it cannot be had.
    """
    bare, fragment = urldefrag(address)
    digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
    folder_name = name
    if is_address(name):
        folder_name = f"{urlsplit(name).netloc}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    folder = cache_dir() / "datasets" / folder_name
    if bare.startswith("hf://"):
        beside = folder.rglob("*" + Path(bare).suffix)
        return sorted(filter(Path.is_file, beside)) or _from_hub(name, bare, folder)
    path = folder / (Path(unquote(urlsplit(bare).path)).name or "data")
    if not path.exists():
        say(f"fetching {bare}")
        _download(name, bare, path)
    if digest and (found := sha256_of(path)) != digest:
        raise DataError(f"{path} has SHA-256 {found}, not {digest}; remove it and fetch it again")
    return [path]


def _download(name: str, address: str, path: Path) -> None:
    """Fetch one file, going on where an earlier attempt broke off."""
    with _obstacles_told(name, address, path):
        from huggingface_hub.file_download import http_get
    partial = path.with_name(path.name + ".incomplete")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as file:
            with _obstacles_told(name, address, path):
                try:
                    http_get(address, file, resume_size=partial.stat().st_size)
                except Exception as error:
                    if "416" not in str(error):
                        raise
                    file.truncate(0)  # the server has nothing after these bytes
                    http_get(address, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def _from_hub(name: str, address: str, folder: Path) -> list[Path]:
    """Fetch the files of a data set repository that match a pattern."""
    owner, repository, *pattern = address.removeprefix("hf://datasets/").split("/")
    wanted = "/".join(pattern) or "**/*.parquet"
    with _obstacles_told(name, address, folder):
        from huggingface_hub import snapshot_download

        found = snapshot_download(
            f"{owner}/{repository}", repo_type="dataset", allow_patterns=wanted
        )
        if paths := sorted(Path(found).glob(wanted)):
            return paths
    raise InputMissingError(f"{address} names no file")


@contextlib.contextmanager
def _obstacles_told(name: str, address: str, path: Path) -> Iterator[None]:
    """Turn what keeps a file from being fetched into a line that says what to place where."""
    what = "the files of" if address.startswith("hf://") else "a copy of"
    line = f"{name} cannot be fetched ({{}}); place {what} {address} at {path}"
    try:
        yield
    except ImportError:
        needs = 'it needs huggingface_hub: pip install "minigpt2[hub]"'
        raise UnavailableError(line.format(needs)) from None
    except Exception as error:  # the library's, httpx's or the system's: all say no file
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputMissingError(line.format(reason[:120])) from None
