"""Records, one a line or row: JSONL, CSV and TSV by the standard library, parquet by pyarrow.

The standard library's readers know the line they are in and stop at a bad one; a record is a
Piece, or a DataError that says what is wrong with it and where. A conversation is a piece for
each of its answers.
"""

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

from minigpt2.data.documents import Piece
from minigpt2.errors import DataError, optional_library
from minigpt2.files import parse_json
from minigpt2.tokenizers.transcript import ROLES, answers

LONGEST_RECORD = 32 << 20  # bytes; one record is held in memory as a whole
_TOO_LONG = f"longer than {LONGEST_RECORD >> 20} MiB"
_ROWS_AT_ONCE = 256

MESSAGES = "messages"  # the field that holds a conversation
# Fields that are read where none was named: a text's, or those of a question and its answer.
TABLE_FIELDS = (
    ("text",), ("prompt", "answer"), ("prompt", "completion"), ("prompt", "response"),
    ("question", "answer"), ("instruction", "output"),
)  # fmt: skip
FIELDS = (*TABLE_FIELDS, (MESSAGES,))
Fields = tuple[tuple[str, ...], ...]

Record = Piece | DataError


def jsonl_records(file: BinaryIO, name: str, field: str | None) -> Iterator[Record]:
    """Yield the records of each line that is not blank."""
    for number, line in enumerate(_lines(file), 1):
        place = f"line {number}"
        if line is None:
            yield DataError(f"{place}: {_TOO_LONG}")
        elif line.strip():
            try:
                row = parse_json(line, place)
                columns = choose(list(row), field, place)
            except DataError as error:
                yield error
            else:
                yield from row_records(columns, [row[column] for column in columns], place)


def csv_records(
    file: BinaryIO, name: str, field: str | None, separators: str = ",;\t"
) -> Iterator[Record]:
    """Yield a record for each row after the header, which shows what separates them."""
    csv.field_size_limit(LONGEST_RECORD)
    # Strays become surrogates here and are told, with the line, where they stand.
    with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        lines = _table_lines(text, name)
        if not (first := next(lines, "")):
            return
        # Spreadsheets write semicolons where the comma is the decimal point.
        separator = max(separators, key=first.count)
        rows = _csv_rows(itertools.chain([first], lines), separator)
        place, header = next(rows)
        if isinstance(header, csv.Error):
            raise DataError(f"{name}, {place}: {header}; is it a table?")
        columns = [header.index(column) for column in choose(header, field, name, TABLE_FIELDS)]
        for place, row in rows:
            if isinstance(row, csv.Error):
                yield DataError(f"{place}: {row}")
            elif len(row) == len(header):
                yield _checked([row[column] for column in columns], place)
            elif row:
                yield DataError(f"{place}: {len(row)} fields, where the header has {len(header)}")


def _csv_rows(lines: Iterator[str], separator: str) -> Iterator[tuple[str, list[str] | csv.Error]]:
    """Yield each row after its place, or what is wrong with it: the next one may be whole."""
    rows = csv.reader(lines, delimiter=separator, strict=True)
    row: list[str] | csv.Error | None = []
    while row is not None:
        try:
            row = next(rows, None)
        except csv.Error as error:
            row = error
        if row is not None:
            yield f"line {rows.line_num}", row


def parquet_records(file: BinaryIO, name: str, field: str | None) -> Iterator[Record]:
    """Yield the records of each row; only the columns that are used are read."""
    with _opened(file, name) as table:
        columns = choose(table.schema_arrow.names, field, name)
        batches = table.iter_batches(_ROWS_AT_ONCE, columns=list(columns), use_threads=False)
        rows = (row for batch in batches for row in zip(*map(batch.column, columns), strict=True))
        for number, row in enumerate(rows, 1):
            try:  # value by value: one that is no UTF-8 spoils no other
                values = [value.as_py() for value in row]
            except UnicodeDecodeError as error:
                yield DataError(f"row {number}: not UTF-8 at byte {error.start}")
            else:
                yield from row_records(columns, values, f"row {number}")


def parquet_rows(file: BinaryIO, name: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows, all columns, as Python values, each with its place."""
    with _opened(file, name) as table:
        batches = table.iter_batches(_ROWS_AT_ONCE, use_threads=False)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from ((row, f"row {number}") for number, row in enumerate(rows, 1))


@contextlib.contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[Any]:
    """Open a parquet file; failures, those of reading it too, become one line."""
    pyarrow = optional_library("pyarrow", "data", f"{name} is parquet, which needs pyarrow")
    from pyarrow.parquet import ParquetFile

    try:
        # Buffered: a row group is streamed, never held as a whole.
        with ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
            yield table
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name} is no whole parquet file ({reason}); fetch it again") from None


RECORDS: dict[str, Callable[[BinaryIO, str, str | None], Iterator[Record]]] = {
    "jsonl": jsonl_records,
    "csv": csv_records,
    "tsv": partial(csv_records, separators="\t"),
    "parquet": parquet_records,
}


def choose(
    names: Sequence[str], field: str | None, where: str, known: Fields = FIELDS
) -> tuple[str, ...]:
    """Return the fields to read: a text's, or a prompt's and its text's.

    Raises DataError, naming `where`, if one lacks or is there twice.

    >>> choose(["id", "text"], None, "line 1"), choose(["q", "a"], "q+a", "line 1")
    (('text',), ('q', 'a'))
    """
    wanted = known if field is None else ((field,), tuple(field.split("+", 1)))
    fields = next((fields for fields in wanted if set(fields) <= set(names)), ())
    if twice := [name for name in fields if names.count(name) > 1]:
        raise DataError(f"{where} has two columns {twice[0]!r}; rename one")
    if fields:
        return fields
    shown = ", ".join(" ".join(name.split())[:40] for name in names[:12]) or "nothing"
    remedy = "choose with minigpt2 prepare --field NAME, or PROMPT+ANSWER"
    raise DataError(f"{where} has no field {field or 'text'!r}; it has {shown}: {remedy}")


def row_records(columns: tuple[str, ...], values: list[Any], place: str) -> list[Record]:
    """Return what the chosen columns of a row hold: a text, or each answer of a conversation."""
    if columns != (MESSAGES,):
        return [_checked(values, place)]
    [messages] = values
    if fault := _no_conversation(messages):
        return [DataError(f"{place}: {fault}")]
    group = json.dumps([[message["role"], message["content"]] for message in messages])
    return [_checked(turn, place, group) for turn in answers(messages)]


def _no_conversation(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return f"{MESSAGES} is no list of messages"
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return 'a message is {"role": ..., "content": a text}'
        if message.get("role") not in ROLES:
            return f"role {message.get('role')!r}; roles are {', '.join(ROLES)}"
    spoken = any(message["role"] == "assistant" for message in messages)
    return None if spoken else "nobody speaks as assistant"


def _checked(parts: Sequence[Any], place: str, conversation: str = "") -> Record:
    """Return what a text, or a prompt and a text, make, if they are texts."""
    if fault := next(filter(None, map(_no_text, parts)), None):
        return DataError(f"{place}: {fault}")
    return Piece(parts[-1], "".join(parts[:-1]), conversation=conversation)


def _no_text(part: Any) -> str | None:
    if part is None:
        return "the text is null"
    if not isinstance(part, str):
        return f"{str(part)[:40]!r} is no text"
    if len(part) > LONGEST_RECORD:
        return _TOO_LONG
    try:
        part.encode()
    except UnicodeEncodeError as error:
        stray = ord(part[error.start])
        what = f"byte 0x{stray - 0xDC00:02x}" if 0xDC80 <= stray <= 0xDCFF else "half a pair"
        return f"no valid text at character {error.start}: {what} (U+{stray:04X})"
    return None


def _lines(file: Any) -> Iterator[Any]:
    """Yield lines, None for one that is too long, never holding more than a record's worth."""
    while line := file.readline(LONGEST_RECORD + 1):
        if len(line) > LONGEST_RECORD:
            yield None
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_RECORD)
        else:
            yield line


def _table_lines(text: io.TextIOWrapper, name: str) -> Iterator[str]:
    for number, line in enumerate(_lines(text), 1):
        if line is None:
            raise DataError(f"{name}, line {number} is {_TOO_LONG}; is it a table?")
        yield line
