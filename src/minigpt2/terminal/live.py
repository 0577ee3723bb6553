"""Work as it goes on: a bar in a terminal, none elsewhere, and lines above it."""

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn
from rich.text import Text

from minigpt2.text import printable


class LiveView(Progress):
    """Within the context a bar of these columns is shown on `log`; results go to `out`."""

    def __init__(
        self,
        log: Console,
        *columns: ProgressColumn,
        out: Console | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(*columns, console=log, disable=not log.is_terminal, transient=transient)
        self._log, self._out = log, out or log

    def above(self) -> Iterable[RenderableType]:
        """Return what is shown above the bar and changes with it."""
        return ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is drawn, anew each time: the window may have changed."""
        yield from self.above()
        yield from super().get_renderables()

    def say(self, line: str) -> None:
        """Show one line about the process."""
        self._log.print(Text(printable(line)), soft_wrap=True)

    def tell(self, line: str) -> None:
        """Show one line of the result."""
        self._out.print(Text(printable(line)), soft_wrap=True)
