"""A measurement as people read it: figures, protocol, and what they are to be held against."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from minigpt2.terminal.layouts import filled


def show_measured(record: dict[str, Any]) -> None:
    """Print a measurement as a table."""
    table = Table(show_header=False, box=None)
    for row in filled("measured", record=record, **record).split("\n"):
        name, _, value = row.partition(" | ")
        table.add_row(name, Text(value))
    Console().print(table)
