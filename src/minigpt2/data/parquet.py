"""Rows of parquet, read by pyarrow a batch at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigpt2.data.records import (
    MESSAGES,
    BadRecordError,
    Record,
    checked,
    choose,
    conversation,
    holds_messages,
    lacking,
    refuse_twins,
)
from minigpt2.errors import DataError, UnavailableError

_ROWS_AT_ONCE = 256


def parquet_records(path: Path, name: str, field: str | None) -> Iterator[Record]:
    """Yield a record for each row; only the columns that are used are read."""
    with _opened(path, name) as file:
        names = file.schema_arrow.names
        if holds_messages(names, field):
            yield from _conversations(file)
            return
        chosen = choose(names, field)
        if chosen is None:
            raise DataError(f"{name} {lacking(names, field)}")
        refuse_twins(names, chosen, name)
        columns = [column for column in chosen if column is not None]
        number = 0
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
            for row in zip(*(_values(batch.column(c)) for c in columns), strict=True):
                number += 1
                prompt = row[0] if len(row) == 2 else ""
                yield _checked(prompt, row[-1], f"row {number}")


def parquet_rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows, all columns, as Python values."""
    with _opened(path, name) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            yield from batch.to_pylist()


@contextlib.contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    """Open a parquet file; failures, those of reading it too, become one line."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UnavailableError(
            f'{name} is parquet, which needs pyarrow: pip install "minigpt2[data]"'
        ) from None
    try:
        # Buffered: a row group is streamed, never held as a whole.
        with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            yield file
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name} is no whole parquet file ({reason}); fetch it again") from None


def _conversations(file: Any) -> Iterator[Record]:
    number = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[MESSAGES], use_threads=False):
        for messages in _values(batch.column(MESSAGES)):
            number += 1
            if isinstance(messages, UnicodeDecodeError):
                yield BadRecordError(f"row {number}: not UTF-8 at byte {messages.start}")
            else:
                yield from conversation(messages, f"row {number}")


def _values(column: Any) -> Iterator[Any]:
    """Yield Python values one by one: one that is no UTF-8 spoils no other."""
    for value in column:
        try:
            yield value.as_py()
        except UnicodeDecodeError as error:
            yield error


def _checked(prompt: Any, text: Any, place: str) -> Record:
    for part in (prompt, text):
        if isinstance(part, UnicodeDecodeError):
            return BadRecordError(f"{place}: not UTF-8 at byte {part.start}")
    return checked(prompt, text, place)
