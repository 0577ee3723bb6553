"""Read documents out of files, a piece at a time: memory does not grow with the input.

Plain text is one document a file; each line of JSONL, each row of CSV, TSV and parquet is one.
What is always right to repair is repaired and told: a byte order mark is dropped, line ends become
"\\n". Anything else that is not UTF-8 text is an error with its place.
"""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import shlex
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from minigpt2.data.pieces import Piece, as_pieces
from minigpt2.data.records import BadRecordError, Record, csv_records, jsonl_records
from minigpt2.errors import DataError, InputMissingError, UnavailableError

# Repairs and omissions are told as (what, how many).
Note = Callable[[str, int], None]

_BLOCK_BYTES = 1 << 20
FORMATS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": lambda path: _open_zstd(path),
}


@dataclass(frozen=True)
class Source:
    """One file to read: where it lies, what to call it, and how it is to be read."""

    path: Path
    name: str
    format: str = "text"
    compression: str = ""


@dataclass(frozen=True)
class Reading:
    """How to read records: which field holds the text, and whether bad ones are passed over."""

    field: str | None = None
    skip_bad: bool = False


def read_source(source: Source, reading: Reading, note: Note) -> Iterator[Piece]:
    """Yield the documents of one file; raises DataError or InputMissingError with the place."""
    with _failures_told(source):
        if source.format == "text":
            yield from _text_document(source, reading, note)
        else:
            for record in _records(source, reading):
                yield from _record_pieces(record, source, reading, note)


def _text_document(source: Source, reading: Reading, note: Note) -> Iterator[Piece]:
    """Yield one file's text; with skip_bad a file that breaks off ends in a bad piece."""
    begun, end = False, 0
    try:
        with _open(source) as file:
            for piece in as_pieces(_decoded(file, source.name, note), source.name):
                yield piece
                begun, end = True, piece.offset + len(piece.text)
    except DataError:
        if not reading.skip_bad:
            raise
        note("files that are no UTF-8 text left out", 1)
        yield Piece("", first=not begun, bad=True, source=source.name, offset=end)


def _record_pieces(record: Record, source: Source, reading: Reading, note: Note) -> Iterator[Piece]:
    if isinstance(record, BadRecordError):
        if not reading.skip_bad:
            raise DataError(
                f"{source.name}, {record}; minigpt2 prepare --skip-bad leaves such ones out"
            ) from None
        note("bad records left out", 1)
        return
    prompt, text = (_newlines(part, note) for part in (record.prompt, record.text))
    yield Piece(text, prompt, conversation=record.conversation, source=source.name)


def _records(source: Source, reading: Reading) -> Iterator[Record]:
    if source.format == "parquet":
        from minigpt2.data.parquet import parquet_records

        if source.compression:
            raise DataError(f"{source.name}: parquet is compressed inside; unpack it first")
        yield from parquet_records(source.path, source.name, reading.field)
        return
    with _open(source) as file:
        if source.format == "jsonl":
            yield from jsonl_records(file, source.name, reading.field)
        else:
            yield from csv_records(file, source.name, reading.field, source.format)


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[BinaryIO]:
    """Open a file, unpacked; raises DataError or InputMissingError for one that cannot be read."""
    with _failures_told(source), _open(source) as file:
        yield file


def _open(source: Source) -> BinaryIO:
    opener = COMPRESSIONS.get(source.compression)
    return opener(source.path) if opener else source.path.open("rb")


def _open_zstd(path: Path) -> BinaryIO:
    try:
        import pyarrow
    except ImportError:
        raise UnavailableError(
            f'{path} is zstd, which needs pyarrow: pip install "minigpt2[data]"'
        ) from None
    # A stream of pyarrow's lacks what io wraps; reading in blocks is all that is asked of it.
    return io.BufferedReader(_Raw(pyarrow.CompressedInputStream(str(path), "zstd")))  # type: ignore[arg-type]


class _Raw(io.RawIOBase):
    """A pyarrow stream as Python's io knows streams."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


@contextlib.contextmanager
def _failures_told(source: Source) -> Iterator[None]:
    """Turn what the system and the decompressors raise into one line."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InputMissingError(f"{source.name} cannot be read: {error.strerror}") from None
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(_broken(source, error)) from None
    except OSError as error:
        packed = source.compression or source.format == "parquet"
        if error.errno is None and packed:  # bz2's and pyarrow's way of saying it
            raise DataError(_broken(source, error)) from None
        raise InputMissingError(f"{source.name} cannot be read: {error}") from None


def _broken(source: Source, error: Exception) -> str:
    return f"{source.name} is damaged or cut short ({error}); fetch it again"


def _decoded(file: BinaryIO, name: str, note: Note) -> Iterator[str]:
    """Decode UTF-8 block by block, line ends unified; errors carry the offset in the text."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8")(), translate=True
    )  # fmt: skip
    offset, empty = 0, True
    while block := file.read(_BLOCK_BYTES):
        if empty:
            block, offset = _without_mark(block, name, note)
            empty = False
        if (zero := block.find(b"\0")) >= 0:
            raise DataError(f"{name} is binary, not text: a zero byte at offset {offset + zero}")
        if returns := block.count(b"\r"):
            note("Windows or old Mac line ends converted", returns)
        yield _decode(decoder, block, offset, name)
        offset += len(block)
    yield _decode(decoder, b"", offset, name)


def _decode(decoder: io.IncrementalNewlineDecoder, block: bytes, offset: int, name: str) -> str:
    try:
        return decoder.decode(block, final=not block)
    except UnicodeDecodeError as error:
        place = offset - (len(error.object) - len(block)) + error.start  # some bytes were held over
        # Windows puts curly quotes where Latin-1 has control characters.
        windows = any(0x80 <= byte < 0xA0 for byte in error.object)
        raise DataError(
            f"{name} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {place}; "
            f"convert it, perhaps: iconv -f {'CP1252' if windows else 'LATIN1'} -t UTF-8 "
            f"{shlex.quote(name)}; minigpt2 prepare --skip-bad leaves such files out"
        ) from None


def _without_mark(block: bytes, name: str, note: Note) -> tuple[bytes, int]:
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
    if not block.startswith(codecs.BOM_UTF8):
        return block, 0
    note("byte order mark dropped", 1)
    return block[3:], 3


def _newlines(text: str, note: Note) -> str:
    if "\r" not in text:
        return text
    note("Windows or old Mac line ends converted", text.count("\r"))
    return text.replace("\r\n", "\n").replace("\r", "\n")
