"""How preparing data looks: one line that moves, and the statistics as a table."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console, Group
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from minigpt2.terminal.layouts import LiveView, filled
from minigpt2.text import printable


class ProgressLine(LiveView):
    """One bar for the stage at hand; lines said meanwhile stand above it."""

    def __init__(self, console: Console) -> None:
        name, amount = map(TextColumn, ("{task.description:<16}", "{task.completed:,.0f}"))
        columns = (name, BarColumn(), TaskProgressColumn(), amount, TimeElapsedColumn())
        super().__init__(console, console, *columns, transient=True)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage has come; a total of 0 is not known yet."""
        if [stage] != [task.description for task in self.tasks]:
            for task in self.task_ids:
                self.remove_task(task)
            self.add_task(stage, total=total or None)
        self.update(self.task_ids[0], completed=done)

    def counter(self, stage: str, total: int) -> Callable[[int], None]:
        """Return a function that is told, again and again, how much more of a stage is done."""
        self.progress(stage, 0, total)
        return partial(self.advance, self.task_ids[0])


def statistics_table(found: dict[str, Any]) -> Group:
    """Return what `describe` found, for a terminal."""
    columns = list(found["splits"].values())
    sizes = Table("", *(Column(name, justify="right") for name in found["splits"]), box=None)
    for key in ("documents", "characters", "words", "tokens", "characters_per_token"):
        sizes.add_row(key.replace("_", " "), *(f"{column[key]:,}" for column in columns))
    several = any(column["documents"] > 1 for column in columns)
    for key in ("least", "median", "most") if several else ():
        lengths = (column["document_tokens"].get(key, 0) for column in columns)
        sizes.add_row(f"tokens a document, {key}", *(f"{length:,}" for length in lengths))
    return Group(sizes, Text(printable(filled("statistics", **found))))
