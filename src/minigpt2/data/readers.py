"""Read documents out of files, a piece at a time: memory does not grow with the input.

Plain text is one document a file; each line of JSONL, each row of CSV, TSV and parquet is one.
Questions and prompts, which are no text to learn, are read as rows: dicts, each with its place.
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
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from minigpt2.data.documents import Piece, Recipe, as_pieces
from minigpt2.data.records import RECORDS, parquet_rows
from minigpt2.errors import DataError, InputMissingError, optional_library
from minigpt2.files import parse_json, utf8

_BLOCK_BYTES = 1 << 20
_RETURNS = "Windows or old Mac line ends converted"
FORMATS = {".txt": "text", ".md": "text", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FORMATS |= {f".{name}": name for name in ("csv", "tsv", "parquet")}


def _open_zstd(path: Path) -> BinaryIO:
    pyarrow = optional_library("pyarrow", "data", f"{path} is zstd, which needs pyarrow")
    return io.BufferedReader(pyarrow.CompressedInputStream(str(path), "zstd"))


COMPRESSIONS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open, ".zst": _open_zstd}


@dataclass(frozen=True)
class Source:
    """One file to read: where it lies, what to call it, how it is to be read, and for what."""

    path: Path
    name: str
    format: str = "text"
    compression: str = ""
    held_out: bool = False


def source_of(path: Path, name: str) -> Source:
    """Return how to read a file, by its name's endings; what is not known is plain text."""
    suffix, compression = endings(name)
    return Source(path, name, FORMATS.get(suffix, "text"), compression)


def endings(name: str) -> tuple[str, str]:
    """Return what a name says of the format and, after it, of the compression."""
    suffixes = ["", *(suffix.lower() for suffix in Path(name).suffixes)]
    compression = suffixes.pop() if suffixes[-1] in COMPRESSIONS else ""
    return suffixes[-1], compression


def read_source(source: Source, recipe: Recipe, repairs: Counter[str]) -> Iterator[Piece]:
    """Yield the documents of one file; raises DataError or InputMissingError with the place.

    What is repaired or left out is counted in `repairs`.
    """
    read = _text_document if source.format == "text" else _record_documents
    for piece in read(source, recipe, repairs):
        piece.held_out = source.held_out
        yield piece


def _text_document(source: Source, recipe: Recipe, repairs: Counter[str]) -> Iterator[Piece]:
    """Yield one file's text; with skip_bad a file that breaks off ends in a bad piece."""
    end = 0
    with open_source(source) as file:
        try:
            for piece in as_pieces(_decoded(file, source.name, repairs), source.name):
                yield piece
                end = piece.offset + len(piece.text)
        except DataError:
            if not recipe.skip_bad:
                raise
            repairs["files that are no UTF-8 text left out"] += 1
            yield Piece("", first=end == 0, bad=True, source=source.name, offset=end)


def _record_documents(source: Source, recipe: Recipe, repairs: Counter[str]) -> Iterator[Piece]:
    if source.format == "parquet" and source.compression:
        raise DataError(f"{source.name}: parquet is compressed inside; unpack it first")
    with open_source(source) as file:
        for record in RECORDS[source.format](file, source.name, recipe.field):
            if isinstance(record, Piece):
                record.prompt = _newlines(record.prompt, repairs)
                record.text = _newlines(record.text, repairs)
                record.source = source.name
                yield record
            elif recipe.skip_bad:
                repairs["bad records left out"] += 1
            else:
                remedy = "minigpt2 prepare --skip-bad leaves such ones out"
                raise DataError(f"{source.name}, {record}; {remedy}")


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[BinaryIO]:
    """Open a file, unpacked; raises DataError or InputMissingError for one that cannot be read."""
    try:
        opener: Any = COMPRESSIONS.get(source.compression)
        with opener(source.path) if opener else source.path.open("rb") as file:
            yield file
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None)
        if reason is None:  # not the system's, so a decompressor's
            harm = f"is damaged or cut short ({error}); fetch it again"
            raise DataError(f"{source.name} {harm}") from None
        raise InputMissingError(f"{source.name} cannot be read: {reason}") from None


def _decoded(file: BinaryIO, name: str, repairs: Counter[str]) -> Iterator[str]:
    """Decode UTF-8 block by block, line ends unified; errors carry the offset in the text."""
    utf8 = codecs.getincrementaldecoder("utf-8")()
    decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
    offset, last = 0, False
    while not last:
        block = file.read(_BLOCK_BYTES)
        last = not block
        if offset == 0 and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{name} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
        if offset == 0 and block.startswith(codecs.BOM_UTF8):
            repairs["byte order mark dropped"] += 1
            block, offset = block[3:], 3
        if (zero := block.find(b"\0")) >= 0:
            raise DataError(f"{name} is binary, not text: a zero byte at offset {offset + zero}")
        if returns := block.count(b"\r"):
            repairs[_RETURNS] += returns
        try:
            text = decoder.decode(block, final=last)
        except UnicodeDecodeError as error:
            begin = offset + len(block) - len(error.object)  # some bytes were held over
            raise DataError(_no_utf8(name, error, begin)) from None
        yield text
        offset += len(block)


def _no_utf8(name: str, error: UnicodeDecodeError, offset: int) -> str:
    # Windows puts curly quotes where Latin-1 has control characters.
    windows = any(0x80 <= byte < 0xA0 for byte in error.object)
    return (
        f"{name} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset "
        f"{offset + error.start}; convert it, perhaps: "
        f"iconv -f {'CP1252' if windows else 'LATIN1'} -t UTF-8 {shlex.quote(name)}; "
        "minigpt2 prepare --skip-bad leaves such files out"
    )


def _newlines(text: str, repairs: Counter[str]) -> str:
    if "\r" not in text:
        return text
    repairs[_RETURNS] += text.count("\r")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def rows_of(path: Path, plain: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a JSON lines or parquet file as dicts, each with its place.

    With `plain` the lines of any other file are rows of one field, which is called so.
    """
    source = source_of(path, path.name)
    bare = path.name[: len(path.name) - len(source.compression)]
    as_json = source.format == "jsonl" or bare.endswith(".json")
    if not as_json and not plain and source.format != "parquet":
        raise DataError(f"{path}: needs .jsonl or .parquet, also compressed, as it is published")
    with open_source(source) as file:
        if source.format == "parquet":
            yield from ((row, f"{path}, {place}") for row, place in parquet_rows(file, str(path)))
            return
        for number, line in enumerate(file, 1):
            place = f"{path}, line {number}"
            if line.strip() and as_json:
                yield parse_json(line, place), place
            elif line.strip():
                yield {plain: utf8(line, place).rstrip("\r\n")}, place


def text_of(row: dict[str, Any], field: str, place: str) -> str:
    """Return the text in a field of a row; raises DataError, naming what there is instead."""
    if not isinstance(row.get(field), str):
        there = ", ".join(map(str, row))[:100] or "nothing"
        raise DataError(f"{place}: no text in a field {field!r}; there is {there}")
    return row[field]
