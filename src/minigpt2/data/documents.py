"""Batches of documents: one a row, padded to the longest in the batch, alike lengths together.

Like the packed batches these are a pure function of (seed, step, world), every row is served once
an epoch, and memory does not grow with the corpus but for eight bytes in a thousand documents.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from minigpt2.data.batches import Rows, Window, mix
from minigpt2.data.shards import TokenStream
from minigpt2.errors import DataError

_COARSE = 1024  # documents between two entries of the table of rows


class DocumentRows:
    """The rows of a split: each document, cut into windows of at most `length` targets.

    Row i is (start, stop, first target): it feeds tokens [start, stop - 1), where `start` is the
    document's prompt, the separator before a document without one, or the token before the window,
    and is scored on [first, stop). What lies before a document's first target, a prompt, is fed
    only; a window of nothing else is left out.
    """

    def __init__(self, stream: TokenStream, length: int) -> None:
        self._stream, self._length = stream, length
        firsts = range(0, len(stream.documents), _COARSE)
        self._starts = np.cumsum([0, *(int(self._counts(first)[0].sum()) for first in firsts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def windows(self, numbers: np.ndarray) -> list[Window]:
        """Return many rows at once."""
        blocks = np.searchsorted(self._starts, numbers, side="right") - 1
        found = np.empty((len(numbers), 3), np.int64)
        for block in np.unique(blocks).tolist():
            here = blocks == block
            counts, first, low, target, end = self._counts(block * _COARSE)
            ends, inside = np.cumsum(counts), numbers[here] - self._starts[block]
            which = np.searchsorted(ends, inside, side="right")
            nth = inside - (ends - counts)[which]
            skipped = (target[which] - low[which]) // self._length
            begin = low[which] + (nth + skipped) * self._length
            stop = np.minimum(begin + self._length, end[which])
            # Where a prompt begins the row, the row begins with it, as it will when it is asked.
            asked = (begin == low[which]) & (target[which] > first[which])
            start = np.where(asked, first[which], begin - 1)
            found[here] = np.stack([start, stop, np.maximum(begin, target[which])], axis=1)
        return [(start, stop, first) for start, stop, first in found.tolist()]

    def __iter__(self) -> Iterator[Window]:
        for first in range(0, len(self), _COARSE):
            yield from self.windows(np.arange(first, min(first + _COARSE, len(self))))

    def spread(self, number: int) -> Iterator[Window]:
        """Yield `number` rows spread evenly, or all if there are fewer: always the same ones."""
        wanted = min(number, len(self))
        return iter(self.windows(np.arange(wanted) * len(self) // max(1, wanted)))

    def _counts(self, first: int) -> tuple[np.ndarray, ...]:
        """Rows, first token to feed on, first target and end of the documents from `first` on."""
        index = self._stream.documents
        start, target, end = index.read(first, min(first + _COARSE, len(index)))
        low = np.maximum(start, 1)  # nothing stands before the stream's first token
        target = np.maximum(target, low)
        rows = -((low - end) // self._length) - (target - low) // self._length
        return np.where(target < end, rows, 0), start, low, target, end


class DocumentBatches(Rows):
    """Batches of (tokens, targets), both (B / world, up to `length`) int64, from one split."""

    def __init__(self, stream: TokenStream, batch_size: int, length: int, seed: int) -> None:
        super().__init__(stream, batch_size, length, seed)
        self.rows = DocumentRows(stream, length)
        if not len(self.rows):
            raise DataError("the training split has nothing to predict; give more text")

    def count(self, epoch: int) -> int:
        """Return how many rows an epoch has: all."""
        return len(self.rows)

    def arranged(self, epoch: int, samples: range, numbers: np.ndarray) -> dict[int, Window]:
        """Give an epoch's `samples` the rows of these numbers: near lengths in one batch."""
        rows = sorted(self.rows.windows(numbers), key=lambda row: row[1] - row[0])
        batches = {sample // self.batch_size for sample in samples}
        order = {batch: mix(self.key(epoch) ^ mix(batch)) for batch in batches}
        slots = sorted(samples, key=lambda sample: (order[sample // self.batch_size], sample))
        return dict(zip(slots, rows, strict=True))


def restart_at(tokens: Tensor, separator: int) -> dict[str, Tensor]:
    """Return what makes a model read the documents of packed rows (B, T) as if each stood alone.

    The separator before a document is its position 0, as in a row of a document without prompt.
    `positions` (B, T) count from there; `mask` (B, 1, T, T) is True where a position may look.
    """
    begins = tokens == separator
    place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    last = torch.where(begins, place, 0).cummax(dim=1).values
    number = begins.cumsum(dim=1)
    same = number[:, :, None] == number[:, None, :]
    return {"positions": place - last, "mask": same.tril().unsqueeze(1)}
