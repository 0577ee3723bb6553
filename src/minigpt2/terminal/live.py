"""Work as it goes on: a bar in a terminal, none elsewhere, and lines above it."""

import contextlib
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.text import Text

from minigpt2.text import printable


class LiveView(contextlib.AbstractContextManager):
    """Within the context a bar of these columns is shown on `log`."""

    def __init__(self, log: Console, *columns: ProgressColumn, transient: bool = False) -> None:
        self._log = log
        self._progress = Progress(
            *columns, console=log, disable=not log.is_terminal, transient=transient
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """Show one line about the process."""
        self._log.print(Text(printable(line)), soft_wrap=True)
