"""Work as it goes on: a bar in a terminal, none elsewhere, and lines above it."""

import contextlib
from collections.abc import Iterable
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn
from rich.text import Text

from minigpt2.text import printable


class LiveView(contextlib.AbstractContextManager):
    """Within the context a bar of these columns is shown on `log`; results go to `out`."""

    def __init__(
        self,
        log: Console,
        *columns: ProgressColumn,
        out: Console | None = None,
        transient: bool = False,
    ) -> None:
        self._log, self._out = log, out or log
        self._progress = _Progress(
            *columns, console=log, disable=not log.is_terminal, transient=transient
        )
        self._progress.view = self

    def above(self) -> Iterable[RenderableType]:
        """Return what is shown above the bar and changes with it."""
        return ()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """Show one line about the process."""
        self._log.print(Text(printable(line)), soft_wrap=True)

    def tell(self, line: str) -> None:
        """Show one line of the result."""
        self._out.print(Text(printable(line)), soft_wrap=True)


class _Progress(Progress):
    """A bar, and above it what its view has to show."""

    view: LiveView | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is drawn, anew each time: the window may have changed."""
        if self.view is not None:
            yield from self.view.above()
        yield from super().get_renderables()
