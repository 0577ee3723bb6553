"""Work as it goes on: a bar in a terminal, none elsewhere, and lines above it."""

from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.text import Text

from minigpt2.text import printable


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
