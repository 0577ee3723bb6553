"""A loss curve of characters: four dots high and two wide each, on a logarithmic scale."""

import math
from collections.abc import Iterable

from rich.text import Text

_BUCKETS = 512  # of steps; wider than any terminal has dots
# Unicode's braille patterns: the bit of each dot of a cell, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_LABEL = 7  # columns for the scale


class LossCurve:
    """The mean training loss of every stretch of a run, and validation losses as marks."""

    def __init__(self, total_steps: int) -> None:
        self._total = max(1, total_steps)
        self._sums, self._counts = [0.0] * _BUCKETS, [0] * _BUCKETS
        self._marks: list[tuple[float, float]] = []

    def add(self, step: int, loss: float) -> None:
        """Take note of a training loss."""
        bucket = min(_BUCKETS - 1, step * _BUCKETS // self._total)
        self._sums[bucket] += loss
        self._counts[bucket] += 1

    def mark(self, step: int, loss: float) -> None:
        """Take note of a validation loss."""
        self._marks.append((step / self._total, loss))

    def draw(self, width: int, height: int) -> Text:
        """Return the curve so far; empty where there is nothing to see, or no room."""
        means = enumerate(zip(self._sums, self._counts, strict=True))
        line = [(i / _BUCKETS, total / count) for i, (total, count) in means if count]
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
