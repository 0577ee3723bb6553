"""How things are shown: texts of several lines, each a template under layouts/; work as it goes on.

Work has a bar in a terminal, none elsewhere, and lines above it.
"""

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from rich import progress as bars
from rich.console import Console, Group
from rich.table import Column, Table
from rich.text import Text

from minigpt2.text import printable

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_suffix("")), trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters |= {"grouped": "{:,}".format, "repr": repr, "ascii": ascii}


def command() -> str:
    """Return what to type to run this program: its name, or its path where it is not on PATH."""
    script = Path(sys.argv[0])
    if shutil.which("minigpt2") or script.stem != "minigpt2":
        return "minigpt2"
    inside = script.is_relative_to(Path.cwd())
    return str(script.relative_to(Path.cwd()) if inside else script)


def filled(name: str, /, **values: Any) -> str:
    """Return the text of one template with the values in it."""
    return _TEMPLATES.get_template(f"{name}.txt").render(values).rstrip("\n")


def filled_table(name: str, /, **values: Any) -> Table:
    """Return a template whose lines are rows, a name and what it is, parted by " | "."""
    table = Table(show_header=False, box=None)
    for row in filled(name, **values).split("\n"):
        what, _, value = row.partition(" | ")
        table.add_row(what, Text(value))
    return table


class LiveView(bars.Progress):
    """Within the context a bar of these columns is shown on standard error, beside the results."""

    def __init__(self, *columns: bars.ProgressColumn) -> None:
        log, self._out = Console(stderr=True), Console()
        super().__init__(*columns, console=log, disable=not log.is_terminal)

    def say(self, line: str) -> None:
        """Show one line about the process."""
        self.console.print(Text(printable(line)), soft_wrap=True)

    def tell(self, line: str) -> None:
        """Show one line of the result."""
        self._out.print(Text(printable(line)), soft_wrap=True)


class ProgressLine(LiveView):
    """One bar for the stage at hand; lines said meanwhile stand above it."""

    def __init__(self) -> None:
        name, amount = map(bars.TextColumn, ("{task.description:<16}", "{task.completed:,.0f}"))
        share, elapsed = bars.TaskProgressColumn(), bars.TimeElapsedColumn()
        super().__init__(name, bars.BarColumn(), share, amount, elapsed)
        self.live.transient = True  # the line goes when the work is done

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


def summary(manifest: dict[str, Any]) -> Group:
    """Return what a data directory consists of, for a terminal."""
    headings = ("documents", "characters", "tokens", "characters/token", "files")
    table = Table("", *(Column(heading, justify="right") for heading in headings), box=None)
    for name, split in manifest["splits"].items():
        sizes = [f"{split[key]:,}" for key in ("documents", "characters", "tokens")]
        ratio = f"{split['characters'] / max(1, split['tokens']):.2f}"
        table.add_row(name, *sizes, ratio, str(len(split["shards"])))
    return Group(table, filled("prepared", **manifest))


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
