"""Training as it runs: a live bar in a terminal, plain lines elsewhere, a summary at the end."""

import math
import time
from collections.abc import Iterable, Iterator

import numpy as np
from rich.console import RenderableType
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.rule import Rule
from rich.text import Text

from minigpt2.checkpoints import RunDirectory
from minigpt2.reports import draw_curves
from minigpt2.terminal.layouts import LiveView, command, filled
from minigpt2.text import printable
from minigpt2.training import Evaluated, Event, Finished, Sampled, Started, Step

_LINE_SECONDS = 10.0  # between plain lines
_EXCERPT = 300  # characters of a sample on the way
# The least window with room for a curve beside the lines that scroll.
_LEAST_WIDTH, _LEAST_HEIGHT = 40, 16
_BUCKETS = 512  # of steps; wider than any terminal has dots
# Unicode's braille patterns: the bit of each dot of a cell, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_LABEL = 7  # columns for the scale


class TrainingView(LiveView):
    """Shows training events: the process on standard error, its result on standard output."""

    _plan = ""  # until a run has started: rich asks for it even before

    def __init__(self) -> None:
        texts = ("{task.description}", "{task.completed}/{task.total}", "{task.fields[figures]}")
        name, count, figures = map(TextColumn, texts)
        super().__init__(name, BarColumn(), count, figures, TimeRemainingColumn())
        self._last_line = 0.0
        self._curve, self._sample = LossCurve(1), ""
        self._start_loss: float | None = None  # of a model that is trained further

    def get_renderables(self) -> Iterator[RenderableType]:
        """Return what is drawn, anew each time: the window may have changed.

        Where it has room, the newest sample, the curve and the plan stand above the bar.
        """
        width, height = self.console.size if self._plan else (0, 0)
        if width >= _LEAST_WIDTH and height >= _LEAST_HEIGHT:
            lines = printable(self._sample).strip("\n").splitlines()[: height // 5]
            if lines:
                yield Rule("it writes", style="dim")
            yield from (Text(line, no_wrap=True, overflow="ellipsis") for line in lines)
            yield Rule("loss of each step, and of the whole validation split: ●", style="dim")
            drawn = self._curve.draw(width - 1, height // 4)
            if drawn and not self.console.options.ascii_only:
                yield drawn
            yield Text(self._plan, "dim", no_wrap=True, overflow="ellipsis")
        yield from super().get_renderables()

    def show(self, event: Event) -> None:
        """Show one event; a checkpoint is none that a person waits for."""
        if isinstance(event, Started):
            self._show_started(event)
        elif isinstance(event, Step):
            self._show_step(event)
        elif isinstance(event, Evaluated):
            self._curve.mark(event.step, event.val_loss)
            mark = "  best so far" if event.is_best else ""
            if event.step == 0:
                mark, self._start_loss = "  before training", event.val_loss
            self.say(
                f"step {event.step}: validation loss {event.val_loss:.4f} (whole split), "
                f"training {event.train_eval_loss:.4f}{mark}"
            )
        elif isinstance(event, Sampled):
            self._sample = event.text
            if not self.console.is_terminal and not self.finished:
                self.console.rule(f"sample at step {event.step}", style="dim")
                self.console.print(Text(printable(event.text[:_EXCERPT]).strip("\n")))
                self.console.rule(style="dim")
        elif isinstance(event, Finished):
            self._show_finished(event)

    def _show_started(self, event: Started) -> None:
        self.say(filled("started", **vars(event)))
        self._plan = event.plan.describe()
        self._curve = LossCurve(event.total_steps)
        self.add_task("training", total=event.total_steps, completed=event.step, figures="")

    def _show_step(self, event: Step) -> None:
        figures = f"loss {event.loss:.3f}  {event.tokens_per_second:,.0f} tokens/s"
        self._curve.add(event.step, event.loss)
        self.update(self.task_ids[0], completed=event.step, figures=figures)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            self.say(f"step {event.step}/{event.total_steps}: {figures}")

    def _show_finished(self, event: Finished) -> None:
        self.stop()
        run = RunDirectory(event.run_dir)
        log = run.read_log() if run.metrics_path.exists() else []
        if log:
            draw_curves({run.path.name: log}, run.path / "loss.png", event.bigram_loss)
        if event.reason == "already":
            self.say(f"{run.path} is finished at step {event.step}; nothing to do")
        if event.reason == "interrupted":
            self.say(f"saved at step {event.step}; go on with: {command()} train --out {run.path}")
            return
        if self._sample:
            self._out.rule("what it writes")
            self._out.print(Text(printable(self._sample).strip("\n")))
            self._out.rule()
        start = self._start_loss
        self.tell(filled("finished", **vars(event), start_loss=start, command=command()))


class LossCurve:
    """The mean training loss of every stretch of a run, and validation losses as marks."""

    def __init__(self, total_steps: int) -> None:
        self._total = max(1, total_steps)
        self._sums = np.zeros((_BUCKETS, 2))  # of losses, and how many they are
        self._marks: list[tuple[float, float]] = []

    def add(self, step: int, loss: float) -> None:
        """Take note of a training loss."""
        self._sums[min(_BUCKETS - 1, step * _BUCKETS // self._total)] += loss, 1

    def mark(self, step: int, loss: float) -> None:
        """Take note of a validation loss."""
        self._marks.append((step / self._total, loss))

    def draw(self, width: int, height: int) -> Text:
        """Return the curve so far; empty where there is nothing to see, or no room."""
        line = [(i / _BUCKETS, loss / n) for i, (loss, n) in enumerate(self._sums.tolist()) if n]
        losses = [loss for _, loss in (*line, *self._marks) if 0 < loss < math.inf]
        width -= _LABEL
        if len(losses) < 2 or width < 8 or height < 2:
            return Text()
        low, high = math.log(min(losses)), math.log(max(losses))
        cells = [[0] * width for _ in range(height)]
        for x, y in _places(line, low, high, 2 * width, 4 * height):
            cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
        marks = {(y, x) for x, y in _places(self._marks, low, high, width, height)}
        text = Text()
        for row, bits in enumerate(cells):
            at = high - (high - low) * row / (height - 1)
            text.append(f"{math.exp(at):6.2f} ", "dim")
            for column, cell in enumerate(bits):
                if (row, column) in marks:
                    text.append("●", "bold green")
                else:
                    text.append(chr(0x2800 + cell) if cell else " ")
            text.append("\n" if row < height - 1 else "")
        return text


def _places(
    points: Iterable[tuple[float, float]], low: float, high: float, width: int, height: int
) -> Iterable[tuple[int, int]]:
    """Yield where points (share of the run, loss) fall: column from the left, row from the top."""
    for share, loss in points:
        if 0 < loss < math.inf:
            depth = (high - math.log(loss)) / ((high - low) or 1.0)
            yield min(width - 1, int(share * width)), min(height - 1, round(depth * (height - 1)))
