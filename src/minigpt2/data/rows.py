"""Rows of a published table as dicts, each with its place: questions, not text to learn."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigpt2.data.parquet import parquet_rows
from minigpt2.data.readers import Source, open_source
from minigpt2.data.sources import source_of
from minigpt2.errors import DataError


def rows_of(path: Path, plain: str | None = None) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a JSON lines or parquet file with their places in it.

    Where `plain` names a field, any other file is read as lines of that field.
    """
    source = source_of(path, path.name)
    if source.format == "parquet":
        for number, row in enumerate(parquet_rows(path, str(path)), 1):
            yield row, f"{path}, row {number}"
        return
    bare = path.name[: len(path.name) - len(source.compression)]
    as_json = source.format == "jsonl" or bare.endswith(".json")
    if not as_json and plain is None:
        raise DataError(f"{path}: needs .jsonl or .parquet, also compressed, as it is published")
    for number, line in enumerate(_lines(source), 1):
        place = f"{path}, line {number}"
        if line.strip():
            yield (_parsed(line, place) if as_json else {plain or "": line}), place


def _lines(source: Source) -> Iterator[str]:
    with open_source(source) as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{source.path}, line {number}: not UTF-8 at byte {error.start}"
                ) from None


def _parsed(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: no JSON: {str(error)[:80]}") from None
    if not isinstance(row, dict):
        raise DataError(f"{place}: no JSON object")
    return row
