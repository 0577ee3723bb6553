"""Batches of documents: one a row, padded to the longest in the batch, alike lengths together.

Like the packed batches these are a pure function of (seed, step, world), every row is served once
an epoch, and memory does not grow with the corpus but for eight bytes in a thousand documents.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from minigpt2.data.batches import IGNORED, collate, mix, permute
from minigpt2.data.shards import Ids, TokenStream
from minigpt2.errors import DataError

Window = tuple[int, int, int]

_COARSE = 1024  # documents between two entries of the table of rows
_BATCHES_SORTED = 64  # batches whose documents are sorted by length together


class DocumentRows:
    """The rows of a split: each document, cut into windows of at most `length` targets.

    Row i is (start, stop, first target): it feeds tokens [start, stop - 1), where `start` is the
    document's prompt, the separator before a document without one, or the token before the window,
    and is scored on [first, stop). What lies before a document's first target, a prompt, is fed
    only; a window of nothing else is left out.
    """

    def __init__(self, stream: TokenStream, length: int) -> None:
        self._stream, self._length = stream, length
        totals = [
            int(self._counts(first)[0].sum()) for first in range(0, len(stream.documents), _COARSE)
        ]
        self._starts = np.cumsum([0, *totals])

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


class DocumentBatches:
    """Batches of (tokens, targets), both (B / world, up to `length`) int64, from one split."""

    def __init__(self, stream: TokenStream, batch_size: int, length: int, seed: int) -> None:
        self._stream, self._seed = stream, seed
        self.rows = DocumentRows(stream, length)
        self.batch_size = batch_size
        self._arranged = lru_cache(1)(self._arrange)
        if not len(self.rows):
            raise DataError("the training split has nothing to predict; give more text")

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Return this rank's part of the global batch of `step`; the last ranks' may be smaller."""
        first = step * self.batch_size
        low, high = (first + self.batch_size * r // world for r in (rank, rank + 1))
        return rows_as_batch(self._stream, [self.window(n) for n in range(low, high)])

    def steps(self, epochs: int) -> int:
        """Return the optimizer steps that `epochs` epochs take; the last may reach beyond."""
        return -(-epochs * len(self.rows) // self.batch_size)

    def window(self, sample: int) -> Window:
        """Return the row that sample number `sample` is: epochs follow one another without end."""
        epoch = sample // len(self.rows)
        return self._arranged(epoch, sample // (self.batch_size * _BATCHES_SORTED))[sample]

    def _arrange(self, epoch: int, group: int) -> dict[int, Window]:
        """Give an epoch's samples of one group their rows: near lengths in one batch."""
        count, span = len(self.rows), self.batch_size * _BATCHES_SORTED
        begin = epoch * count
        samples = range(max(group * span, begin), min((group + 1) * span, begin + count))
        key = mix(mix(self._seed) ^ epoch)
        rows = self.rows.windows(permute(np.array(samples) - begin, count, key))
        rows.sort(key=lambda row: row[1] - row[0])
        batches = {sample // self.batch_size for sample in samples}
        order = {batch: mix(key ^ mix(batch)) for batch in batches}
        slots = sorted(samples, key=lambda sample: (order[sample // self.batch_size], sample))
        return dict(zip(slots, rows, strict=True))


def rows_as_batch(stream: Ids, rows: list[Window]) -> tuple[Tensor, Tensor]:
    """Return rows as (tokens, targets), padded to the longest; what is not scored is IGNORED."""
    length = max((stop - start for start, stop, _ in rows), default=1) - 1
    tokens, targets = collate([stream.read(start, stop) for start, stop, _ in rows], length)
    for row, (start, _, first) in enumerate(rows):
        targets[row, : first - start - 1] = IGNORED
    return tokens, targets


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
