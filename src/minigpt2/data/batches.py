"""The batch of a step, as a pure function of (seed, step, world): resuming is a number.

An epoch serves the rows of a split in an order of its own, and epochs follow one another without
end; step s takes samples s*B to (s+1)*B - 1 of that chain, whatever the number of ranks. Packed
rows are windows of T targets, cut out of the stream at a phase that each epoch has of its own, so
that every token but the stream's first is a target exactly once. Or a row is a document, padded to
the longest in its batch, alike lengths together. Memory does not grow with the corpus but for eight
bytes in a thousand documents.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from minigpt2.data.shards import TokenStream
from minigpt2.errors import DataError

# Of a row (start, stop, first target) tokens [start, stop - 1) are fed, and [first target, stop)
# are what is to be predicted.
Window = tuple[int, int, int]
Read = Callable[[int, int], np.ndarray]  # what returns ids [start, stop) as int64
Batch = tuple[Tensor, Tensor]  # tokens and targets, of one shape

IGNORED = -100  # torch's cross_entropy leaves such targets out
_BATCHES_ARRANGED = 64  # batches whose rows are found at once, and kept
_COARSE = 1024  # documents between two entries of the table of rows
_FEISTEL_ROUNDS = 6
_GOLDEN, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


class Batches:
    """Rows of `stream` as batches of (tokens, targets), both (B / world, T) int64.

    Rows are windows of T = `length` targets or, with `documents`, what `DocumentRows` has, and T is
    the longest row's.
    """

    def __init__(
        self, stream: TokenStream, batch_size: int, length: int, seed: int, documents: bool = False
    ) -> None:
        self._stream, self._seed = stream, seed
        self.batch_size, self.length = batch_size, length
        self.rows = DocumentRows(stream, length) if documents else None
        if self.rows is not None and not len(self.rows):
            raise DataError("the training split has nothing to predict; give more text")
        if self.rows is None and len(stream) < length + 1:
            raise DataError(
                f"the training split has {len(stream)} tokens, fewer than one window of "
                f"{length} + 1; give more text or a smaller --training.sequence-length"
            )
        self._arranged = lru_cache(1)(self._arrange)
        self._epoch_starts = [0]  # the first sample of each epoch met so far

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Return this rank's part of the global batch of `step`; the last ranks' may be smaller."""
        first = step * self.batch_size
        low, high = (first + self.batch_size * r // world for r in (rank, rank + 1))
        rows = [self.window(sample) for sample in range(low, high)]
        return rows_as_batch(self._stream.read, rows, self.length if self.rows is None else None)

    def steps(self, epochs: int) -> int:
        """Return the optimizer steps that `epochs` epochs take; the last may reach beyond."""
        return -(-self.samples(epochs) // self.batch_size)

    def samples(self, epochs: int) -> int:
        """Return how many samples the first `epochs` epochs hold."""
        for epoch in range(len(self._epoch_starts) - 1, epochs):
            self._epoch_starts.append(self._epoch_starts[epoch] + self._count(epoch))
        return self._epoch_starts[epochs]

    def window(self, sample: int) -> Window:
        """Return the row that sample number `sample` is."""
        while self._epoch_starts[-1] <= sample:
            self.samples(len(self._epoch_starts))
        epoch = bisect_right(self._epoch_starts, sample) - 1
        return self._arranged(epoch, sample // (self.batch_size * _BATCHES_ARRANGED))[sample]

    def _count(self, epoch: int) -> int:
        """Return how many rows an epoch has."""
        if self.rows is not None:
            return len(self.rows)
        phase = self._phase(epoch)
        return (phase > 0) + -(-(len(self._stream) - 1 - phase) // self.length)

    def _key(self, epoch: int) -> int:
        """Return the number that decides about an epoch."""
        return mix(mix(self._seed) ^ epoch)

    def _phase(self, epoch: int) -> int:
        return mix(self._key(epoch) ^ 0x5EED) % self.length

    def _arrange(self, epoch: int, group: int) -> dict[int, Window]:
        """Give a group of an epoch's samples their rows."""
        begin, end = self.samples(epoch), self.samples(epoch + 1)
        span = self.batch_size * _BATCHES_ARRANGED
        samples = range(max(group * span, begin), min((group + 1) * span, end))
        numbers = permute(np.array(samples) - begin, end - begin, self._key(epoch))
        if self.rows is None:
            begins = 1 + numbers * self.length - (-self._phase(epoch) % self.length)
            stops = np.minimum(begins + self.length, len(self._stream)).tolist()
            firsts = np.maximum(begins, 1).tolist()
            rows = [(first - 1, stop, first) for first, stop in zip(firsts, stops, strict=True)]
            return dict(zip(samples, rows, strict=True))
        # Near lengths come into one batch, and the batches into an order of their own.
        rows = sorted(self.rows.windows(numbers), key=lambda row: row[1] - row[0])
        batches = {sample // self.batch_size for sample in samples}
        order = {batch: mix(self._key(epoch) ^ mix(batch)) for batch in batches}
        slots = sorted(samples, key=lambda sample: (order[sample // self.batch_size], sample))
        return dict(zip(slots, rows, strict=True))


def rows_as_batch(read: Read, rows: list[Window], width: int | None = None) -> Batch:
    """Return rows as (tokens, targets), padded to `width` targets or to the longest row.

    What is not scored, padding too, is IGNORED; being at the end no causal position can see it.
    """
    if width is None:
        width = max((stop - start for start, stop, _ in rows), default=1) - 1
    tokens = np.zeros((len(rows), width), np.int64)
    targets = np.full((len(rows), width), IGNORED, np.int64)
    for i, (start, stop, first) in enumerate(rows):
        ids = read(start, stop)
        tokens[i, : stop - start - 1] = ids[:-1]
        targets[i, first - start - 1 : stop - start - 1] = ids[first - start :]
    return torch.from_numpy(tokens), torch.from_numpy(targets)


def windows(total: int, length: int, stride: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Cut `total` tokens for evaluation: yield (start, stop, first target) of each window.

    A window feeds tokens [start, stop - 1) and is scored on targets [first target, stop); each
    token but the first is scored exactly once, with at least length - stride tokens before it
    where there are as many. The last window is as short as it must be.

    >>> list(windows(8, 4)), list(windows(8, 4, 2))
    ([(0, 5, 1), (4, 8, 5)], [(0, 5, 1), (2, 7, 5), (4, 8, 7)])
    """
    step = stride or length
    scored = 1
    for start in range(0, total - 1, step):
        stop = min(start + length + 1, total)
        if stop > scored:
            yield start, stop, scored
        scored = max(scored, stop)


def permute(numbers: np.ndarray, count: int, key: int) -> np.ndarray:
    """Return where a keyed permutation of range(count) sends each of `numbers`.

    A balanced Feistel network over the next power of four, walked until it lands inside
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    keys = [np.uint64((key + turn * _GOLDEN) & _MASK) for turn in range(_FEISTEL_ROUNDS)]
    result = numbers.astype(np.uint64)
    outside = np.ones(len(result), bool)
    while outside.any():
        left, right = result[outside] >> shift, result[outside] & mask
        for turn in keys:
            left, right = right, left ^ (_mix_all(right ^ turn) & mask)
        result[outside] = left << shift | right
        outside = result >= count
    return result.astype(np.int64)


def mix(value: int) -> int:
    """Scramble 64 bits: the finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    return int(_mix_all(np.array([value & _MASK], np.uint64))[0])


def _mix_all(value: np.ndarray) -> np.ndarray:
    """The same of many numbers, uint64; arithmetic wraps around as it must."""
    value = value + np.uint64(_GOLDEN)
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return value ^ value >> np.uint64(31)


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
