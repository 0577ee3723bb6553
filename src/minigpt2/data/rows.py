"""Rows of a table as dicts, each with its place: questions and prompts, not text to learn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigpt2.data.readers import open_source
from minigpt2.data.records import parquet_rows
from minigpt2.data.sources import source_of
from minigpt2.errors import DataError
from minigpt2.files import parse_json, utf8


def rows_of(path: Path, plain: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a JSON lines or parquet file, each with its place.

    With `plain` the lines of any other file are rows of one field, which is called so.
    """
    source = source_of(path, path.name)
    bare = path.name[: len(path.name) - len(source.compression)]
    as_json = source.format == "jsonl" or bare.endswith(".json")
    if not as_json and not plain and source.format != "parquet":
        raise DataError(f"{path}: needs .jsonl or .parquet, also compressed, as it is published")
    with open_source(source) as file:
        if source.format == "parquet":
            for number, row in enumerate(parquet_rows(file, str(path)), 1):
                yield row, f"{path}, row {number}"
            return
        for number, line in enumerate(file, 1):
            place = f"{path}, line {number}"
            if not line.strip():
                continue
            if as_json:
                yield parse_json(line, place), place
            else:
                yield {plain: utf8(line, place).rstrip("\r\n")}, place


def text_of(row: dict[str, Any], field: str, place: str) -> str:
    """Return the text in a field of a row; raises DataError, naming what there is instead."""
    if not isinstance(row.get(field), str):
        there = ", ".join(map(str, row))[:100] or "nothing"
        raise DataError(f"{place}: no text in a field {field!r}; there is {there}")
    return row[field]
