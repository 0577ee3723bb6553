"""Read a text from a file or by name, repairing what is always right to repair.

A byte order mark is dropped and line ends become "\\n"; both are reported. Anything else that
is not plain UTF-8 text is an error with its place.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from minigpt2.errors import DataError, InputMissingError

# The corpora that travel in the package; the file lies beside this one.
EMBEDDED = {"shakespeare": "shakespeare.txt"}


@dataclass(frozen=True)
class Text:
    """A text with where it came from and what was repaired in it."""

    content: str
    source: str
    sha256: str
    repairs: tuple[str, ...] = ()


def read_text(name: str) -> Text:
    """Read the text file `name`, or the embedded corpus of that name; a file wins.

    Raises InputMissingError for what is not there, DataError for what is not text.
    """
    path = Path(name)
    if not path.exists() and name in EMBEDDED:
        raw = (resources.files("minigpt2.data") / EMBEDDED[name]).read_bytes()
        return Text(raw.decode("utf-8"), name, hashlib.sha256(raw).hexdigest())
    if path.is_dir():
        raise DataError(f"{name} is a directory without a data manifest; give one text file")
    if path.exists() and not path.is_file():
        raise DataError(f"{name} is a pipe or a device; give a text file")
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputMissingError(
            f"no text file {name}, and no data set of that name; embedded: {', '.join(EMBEDDED)}"
        ) from None
    except OSError as error:
        raise InputMissingError(f"{name} cannot be read: {error.strerror}") from None
    content, repairs = _decode(raw, name)
    return Text(content, name, hashlib.sha256(raw).hexdigest(), repairs)


def _decode(raw: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """Decode UTF-8, drop a byte order mark, make line ends "\\n"; say what was repaired."""
    if not raw:
        raise DataError(f"{name} is empty; there is nothing to learn from")
    repairs, mark = [], 0
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
    if raw.startswith(b"\xef\xbb\xbf"):
        raw, mark = raw[3:], 3
        repairs.append("byte order mark dropped")
    if (zero := raw.find(b"\0")) >= 0:
        raise DataError(f"{name} is binary, not text: a zero byte at offset {zero + mark}")
    try:
        content = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start + mark}; "
            f"convert it, perhaps: iconv -f {_likely(raw)} -t UTF-8 {name} > new.txt"
        ) from None
    if "\r" in content:
        repairs.append(f"{content.count(chr(13)):,} Windows or old Mac line ends converted")
        content = content.replace("\r\n", "\n").replace("\r", "\n")
    return content, tuple(repairs)


def _likely(raw: bytes) -> str:
    """Guess a one-byte encoding: Windows puts curly quotes where Latin-1 has control characters."""
    return "CP1252" if any(0x80 <= byte < 0xA0 for byte in raw) else "LATIN1"
