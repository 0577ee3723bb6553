"""The numbers beneath the figures: points of a log, smoothed, thinned, and the band of seeds.

Knows no run directory and no picture: a log is a list of the objects of metrics.jsonl.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Log = list[dict[str, Any]]
Points = tuple[np.ndarray, np.ndarray]
MOST_POINTS = 1500  # of one curve: more than a figure has pixels
_LARGEST = 1e18  # nothing is measured beyond; axes of larger numbers overflow


@dataclass(frozen=True)
class Curve:
    """What is drawn in one colour: the logs of one configuration, one for each seed."""

    label: str
    logs: list[Log]

    @property
    def losses(self) -> list[float]:
        """The best validation loss of each seed that has one."""
        return [best[0] for best in map(best_loss, self.logs) if best]


def number(value: Any) -> float | None:
    """Return a value of a log as a float; None for what cannot be drawn, NaN among it.

    >>> number(2), number(float("nan")), number("2"), number(True)
    (2.0, None, None, None)
    """
    drawable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if drawable and abs(value) < _LARGEST else None


def points(log: Log, x: str, measure: str) -> Points:
    """Return where and what a log says of a measure, in the order of `x`; may be empty.

    `gap` is how far validation is above training at an evaluation.
    """
    above, below = ("val_loss", "train_eval_loss") if measure == "gap" else (measure, None)
    rows = [
        [number(entry.get(x)), number(entry.get(above)), number(entry.get(below)) if below else 0.0]
        for entry in log
    ]
    known = np.array([row for row in rows if None not in row], dtype=float).reshape(-1, 3)
    known = known[np.argsort(known[:, 0], kind="stable")]
    return known[:, 0], known[:, 1] - known[:, 2]


def best_loss(log: Log) -> tuple[float, int] | None:
    """Return the lowest validation loss and its step; what was before training does not count."""
    steps, losses = points([entry for entry in log if entry["step"] != 0], "step", "val_loss")
    return min(zip(losses.tolist(), steps.astype(int).tolist(), strict=True), default=None)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the centred moving average over a twentieth of the curve, narrower at its ends.

    Centred, so that a falling curve is not drawn too high.

    >>> smoothed(np.array([3.0, 2.0, 1.0])).tolist()
    [3.0, 2.0, 1.0]
    """
    places, sums = np.arange(len(values)), np.concatenate([[0.0], np.cumsum(values)])
    near = np.minimum(max(1, len(values) // 40), np.minimum(places, places[::-1]))
    return (sums[places + near + 1] - sums[places - near]) / (2 * near + 1)


def thinned(curve: Points, most: int = MOST_POINTS) -> Points:
    """Return at most about `most` of the points; no peak is lost.

    Each stretch of the curve keeps its lowest and its highest point, the curve its ends.
    """
    xs, ys = curve
    if len(xs) <= most:
        return curve
    kept = {0, len(xs) - 1}
    for stretch in np.array_split(np.arange(len(xs)), most // 2):
        kept |= {int(stretch[np.argmin(ys[stretch])]), int(stretch[np.argmax(ys[stretch])])}
    chosen = np.array(sorted(kept))
    return xs[chosen], ys[chosen]


def band(curves: list[Points], most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray] | None:
    """Return places all curves have (n,), and lowest, mean and highest there (3, n).

    Between its points a curve is a straight line. None for fewer than two curves or places.
    """
    if len(curves) < 2:
        return None
    start, stop = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    places = np.unique(np.concatenate([xs for xs, _ in curves]))
    places = places[(places >= start) & (places <= stop)]
    if len(places) < 2:
        return None
    if len(places) > most:
        places = places[np.linspace(0, len(places) - 1, most).round().astype(int)]
    values = np.stack([np.interp(places, xs, ys) for xs, ys in curves])
    return places, np.stack([values.min(0), values.mean(0), values.max(0)])
