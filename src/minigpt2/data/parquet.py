"""Rows of parquet, read by pyarrow a batch at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigpt2.data.records import Record, row_records, table_columns
from minigpt2.errors import DataError, UnavailableError

_ROWS_AT_ONCE = 256


def parquet_records(path: Path, name: str, field: str | None) -> Iterator[Record]:
    """Yield the records of each row; only the columns that are used are read."""
    with _opened(path, name) as file:
        columns = table_columns(file.schema_arrow.names, field, name)
        batches = file.iter_batches(_ROWS_AT_ONCE, columns=list(columns), use_threads=False)
        rows = (row for batch in batches for row in zip(*map(batch.column, columns), strict=True))
        for number, row in enumerate(rows, 1):
            try:  # value by value: one that is no UTF-8 spoils no other
                values = [value.as_py() for value in row]
            except UnicodeDecodeError as error:
                yield DataError(f"row {number}: not UTF-8 at byte {error.start}")
            else:
                yield from row_records(columns, values, f"row {number}")


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
