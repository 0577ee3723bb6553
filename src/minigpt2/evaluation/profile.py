"""How a loss is spread: over positions in the window, and over documents."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minigpt2.data import TokenStream


@dataclass(frozen=True)
class Scored:
    """Some scored tokens, (N,) each: place in the stream, tokens before it that were seen, loss."""

    places: np.ndarray
    seen: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class PositionLoss:
    """The mean loss of the tokens that had from `least` to `most` tokens of the window before."""

    least: int
    most: int
    tokens: int
    loss: float


@dataclass(frozen=True)
class DocumentLosses:
    """Quantiles of the documents' mean losses; `best` and `worst` are (number, loss), from 0."""

    count: int
    quarter: float
    median: float
    three_quarters: float
    best: tuple[int, float]
    worst: tuple[int, float]


def profile(
    parts: Iterable[Scored], stream: TokenStream
) -> tuple[float, tuple[PositionLoss, ...], DocumentLosses | None]:
    """Return the mean loss of all tokens, of those with 1, 2 to 3, 4 to 7, ... before, and so on.

    The last is how the loss is spread over documents. Memory grows with their number alone.
    """
    starts = stream.documents.read(0, len(stream.documents))[0]
    positions = np.zeros((2, 64))  # sums and counts by power of two
    documents, longest = np.zeros((2, len(starts))), 0
    for scored in parts:
        longest = max(longest, int(scored.seen.max(initial=0)))
        _count_in(positions, np.log2(scored.seen).astype(int), scored.losses)
        if len(starts):
            numbers = np.searchsorted(starts, scored.places, side="right") - 1
            _count_in(documents, numbers, scored.losses)
    by_position = tuple(
        PositionLoss(1 << power, min(longest, (2 << power) - 1), int(count), float(total / count))
        for power, (total, count) in enumerate(positions.T)
        if count
    )
    return float(positions[0].sum() / positions[1].sum()), by_position, _over_documents(documents)


def _over_documents(table: np.ndarray) -> DocumentLosses | None:
    """Return how the loss is spread over documents; None where there are not two."""
    scored = np.flatnonzero(table[1])
    if len(scored) < 2:
        return None
    losses = table[0, scored] / table[1, scored]
    quarter, median, three_quarters = np.quantile(losses, (0.25, 0.5, 0.75)).tolist()
    ends = (losses.argmin(), losses.argmax())
    best, worst = ((int(scored[place]), float(losses[place])) for place in ends)
    return DocumentLosses(len(scored), quarter, median, three_quarters, best, worst)


def _count_in(table: np.ndarray, places: np.ndarray, losses: np.ndarray) -> None:
    table[0] += np.bincount(places, losses, minlength=table.shape[1])
    table[1] += np.bincount(places, minlength=table.shape[1])
