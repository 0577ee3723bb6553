"""How a loss is spread: over positions in the window, and over documents."""

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


class Profile:
    """Adds up scored tokens; memory grows with the number of documents alone."""

    def __init__(self, stream: TokenStream) -> None:
        self._starts = stream.documents.read(0, len(stream.documents))[0]
        self._position = np.zeros((2, 64))  # sums and counts by power of two
        self._longest = 0
        self._document = np.zeros((2, len(self._starts)))

    def add(self, scored: Scored) -> None:
        """Take the losses of some tokens into account."""
        self._longest = max(self._longest, int(scored.seen.max(initial=0)))
        _count_in(self._position, np.log2(scored.seen).astype(int), scored.losses)
        if len(self._starts):
            number = np.searchsorted(self._starts, scored.places, side="right") - 1
            _count_in(self._document, number, scored.losses)

    @property
    def loss(self) -> float:
        """The mean over all tokens."""
        sums, counts = self._position
        return float(sums.sum() / counts.sum())

    @property
    def by_position(self) -> tuple[PositionLoss, ...]:
        """The loss by context: 1 token before, 2 to 3, 4 to 7, and so on."""
        return tuple(
            PositionLoss(
                1 << power, min(self._longest, (2 << power) - 1), int(count), float(total / count)
            )
            for power, (total, count) in enumerate(self._position.T)
            if count
        )

    @property
    def documents(self) -> DocumentLosses | None:
        """How the loss is spread over documents; None where there are not two."""
        scored = np.flatnonzero(self._document[1])
        if len(scored) < 2:
            return None
        losses = self._document[0, scored] / self._document[1, scored]
        quarter, median, three = (float(q) for q in np.quantile(losses, (0.25, 0.5, 0.75)))
        best, worst = (
            (int(scored[place]), float(losses[place]))
            for place in (losses.argmin(), losses.argmax())
        )
        return DocumentLosses(len(scored), quarter, median, three, best, worst)


def _count_in(table: np.ndarray, places: np.ndarray, losses: np.ndarray) -> None:
    table[0] += np.bincount(places, losses, minlength=table.shape[1])
    table[1] += np.bincount(places, minlength=table.shape[1])
