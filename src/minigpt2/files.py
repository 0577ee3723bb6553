"""The one place where files are written that must not tear.

A reader sees the old content or the new, never a half: bytes go to a temporary neighbour, are
fsynced, and take the final name by a rename. Directories appear the same way, whole.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from minigpt2.errors import DataError, InputMissingError, MiniGPT2Error, StorageError, UsageError

# What the common refusals mean for a person; any other is told in the system's own words.
_REFUSALS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your disk quota is used up: free some space",
    errno.EIO: "the device fails: save elsewhere",
}


def cache_dir() -> Path:
    """Return the folder for what can be had again: plans, downloaded data."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minigpt2"


# What data directories and checkpoints consist of.
_OUR_FILES = re.compile(
    r"(manifest|tokenizer|tokenizer_config|config|generation_config|state)\.json|statistics\.png"
    r"|(model|optimizer|adapter_model)\.safetensors|adapter_config\.json|README\.md"
    r"|(train|val)-(\d{5}|documents)\.bin"
)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write at `path` into a StorageError that says so."""
    try:
        yield
    except OSError as error:
        reason = _REFUSALS.get(error.errno or 0, "choose another path")
        raise StorageError(f"cannot write {path}: {error.strerror or error}; {reason}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Give `path` this content atomically, creating its folder where needed."""
    with replace_by(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replace_by(path: Path) -> Iterator[Path]:
    """Yield a path of the same name for a library to write, and put it at `path` on success.

    What the library writes beside it goes beside it; on failure nothing is left.
    """
    with _scratch_beside(path) as folder:
        yield folder / path.name
        # The file itself last: what it refers to is there when it appears.
        for written in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
            _make_durable(written)
            written.replace(path.parent / written.name)
        sync_folder(path.parent)


@contextlib.contextmanager
def new_directory(final_dir: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `final_dir` on success and vanishes on failure.

    A directory written by us before is replaced, and only removed once the new one is in place;
    one that holds anything else is a UsageError.
    """
    check_replaceable(final_dir)
    with _scratch_beside(final_dir) as temporary:
        yield temporary
        for written in temporary.iterdir():
            _make_durable(written)
        put_in_place(temporary, final_dir)


def _make_durable(path: Path) -> None:
    """Fsync a new file and give it the usual permissions; libraries tend to choose 0600."""
    if not path.is_symlink():
        path.chmod(path.parent.stat().st_mode & 0o666)  # what the umask left of the folder's
        with path.open("rb+") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def _scratch_beside(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, which is gone at the end unless it was renamed."""
    folder = path.parent / f".tmp-{path.name}-{os.getpid()}"
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def check_replaceable(final_dir: Path) -> None:
    """Raise UsageError if `final_dir` holds what minigpt2 did not write."""
    if final_dir.exists() and not _may_replace(final_dir):
        raise UsageError(
            f"{final_dir} exists and holds what minigpt2 did not write; nothing in it is touched. "
            "Choose another place"
        )


def put_in_place(finished_dir: Path, final_dir: Path) -> None:
    """Give a finished folder its final name, durably, in the stead of what had it before."""
    check_replaceable(final_dir)
    with storage_errors(final_dir):
        sync_folder(finished_dir)
        aside = _step_aside(final_dir) if final_dir.exists() else None
        finished_dir.rename(final_dir)
        sync_folder(final_dir.parent)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def remove_directory(folder: Path) -> None:
    """Remove `folder` so that a kill half-way leaves only a name that `sweep_temporaries` knows."""
    shutil.rmtree(_step_aside(folder), ignore_errors=True)


def _step_aside(folder: Path) -> Path:
    aside = folder.parent / f".tmp-old-{folder.name}-{os.getpid()}"
    folder.rename(aside)
    return aside


def _may_replace(folder: Path) -> bool:
    """Say whether a folder holds nothing, or a manifest of ours and nothing but our files."""
    if not folder.is_dir():
        return False
    names = [entry.name for entry in folder.iterdir()]
    if not names or not has_our_manifest(folder) or not all(map(_OUR_FILES.fullmatch, names)):
        return not names
    try:  # people like to edit the card: is it the one the manifest knows?
        known = read_json(folder / "manifest.json").get("files", {}).get("README.md")
        return "README.md" not in names or known["sha256"] == sha256_of(folder / "README.md")
    except (MiniGPT2Error, AttributeError, KeyError, TypeError, OSError):
        return False


def has_our_manifest(folder: Path) -> bool:
    """Say whether minigpt2 wrote what is in a folder."""
    try:
        return str(read_json(folder / "manifest.json").get("format")).startswith("minigpt2-")
    except (DataError, InputMissingError):
        return False


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed writer left in `folder`."""
    for path in folder.glob(".tmp-*"):
        if not re.fullmatch(r".+-\d+", path.name):  # ours end in the writer's process id
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable, where the system can (Windows cannot open a folder)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def json_bytes(tree: dict[str, Any], ensure_ascii: bool = True) -> bytes:
    """Return `tree` as the content of a JSON file that a person can read."""
    return (json.dumps(tree, indent=1, ensure_ascii=ensure_ascii) + "\n").encode()


def sealed(tree: dict[str, Any]) -> bytes:
    """Return `tree` as JSON that carries the SHA-256 of its own content."""
    return json_bytes({**tree, "seal": digest(tree)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `sealed` made; raise DataError if a bit of its content is another."""
    tree = read_json(path)
    if tree.pop("seal", None) != digest(tree):
        raise DataError(f"{path} was altered: its content does not fit its seal, or it has none")
    return tree


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise InputMissingError or DataError for anything else."""
    try:
        return parse_json(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise InputMissingError(f"{path} is missing") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def parse_json(content: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object; raise DataError naming `where` for anything else."""
    try:
        tree = json.loads(utf8(content, where))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {str(error)[:100]}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{where} holds no JSON object")
    return tree


def facts(module: str) -> Any:
    """Return the table of facts that lies beside a module, as YAML under its name."""
    return yaml.safe_load(Path(module).with_suffix(".yaml").read_text(encoding="utf-8"))


def utf8(content: bytes, where: str) -> str:
    """Decode UTF-8, without its mark; raise DataError naming `where` for anything else."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}") from None


def digest(tree: dict[str, Any]) -> str:
    """Return the SHA-256 of what `tree` says, in whatever order it says it."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Hash a file in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_and_hash(path: Path) -> dict[str, Any]:
    """Return what a file is known by again: {"bytes": ..., "sha256": ...}."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def point(link: Path, target_name: str) -> None:
    """Make `link` name its sibling `target_name`: a relative link, or a text file without links."""
    with replace_by(link) as temporary:
        if os.name != "nt":  # links need a privilege there, and cannot be replaced
            with contextlib.suppress(OSError):  # the file system has none
                temporary.symlink_to(target_name, target_is_directory=True)
        if not temporary.is_symlink():
            temporary.write_bytes(target_name.encode())


def pointed(link: Path) -> Path | None:
    """Resolve what `point` wrote: the sibling folder it names, or None."""
    try:
        name = str(link.readlink()) if link.is_symlink() else link.read_text(encoding="utf-8")
        target = link.parent / name
        # A name with a separator would leave the run directory: never followed.
        return target if name and Path(name).name == name and target.is_dir() else None
    except (OSError, ValueError):  # a file of bytes, or of a text, that are no name
        return None
