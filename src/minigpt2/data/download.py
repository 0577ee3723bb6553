"""Data sets that lie elsewhere: fetched once into the user's cache, resumed, verified.

huggingface_hub does the fetching, with its progress bars, retries, proxies and offline mode.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from minigpt2.errors import DataError, InputMissingError, UnavailableError
from minigpt2.files import cache_dir, facts, sha256_of, storage_errors

DATASETS: dict[str, str] = facts(__file__)


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
