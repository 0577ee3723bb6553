"""How things are shown: texts of several lines, each a template under layouts/; work as it goes on.

Work has a bar in a terminal, none elsewhere, and lines above it.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.table import Table
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


class LiveView(Progress):
    """Within the context a bar of these columns is shown on `log`; results go to `out`."""

    def __init__(
        self, log: Console, out: Console, *columns: ProgressColumn, transient: bool = False
    ) -> None:
        super().__init__(*columns, console=log, disable=not log.is_terminal, transient=transient)
        self._out = out

    def say(self, line: str) -> None:
        """Show one line about the process."""
        self.console.print(Text(printable(line)), soft_wrap=True)

    def tell(self, line: str) -> None:
        """Show one line of the result."""
        self._out.print(Text(printable(line)), soft_wrap=True)
