"""The batch of a step, as a pure function of (seed, step, world): resuming is a number.

An epoch cuts the stream into windows of T targets, at a phase of its own, and serves them in an
order of its own. Every token but the stream's first is a target exactly once an epoch. Epochs
follow one another without end; step s takes samples s*B to (s+1)*B - 1 of that chain, whatever
the number of ranks. Nothing here grows with the corpus.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from minigpt2.data.shards import TokenStream
from minigpt2.errors import DataError

IGNORED = -100  # torch's cross_entropy leaves such targets out
_FEISTEL_ROUNDS = 6
_PERMUTED_AT_ONCE = 4096
_GOLDEN, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


class Batches:
    """Windows of `stream` as batches of (tokens, targets), both (B / world, T) int64."""

    def __init__(self, stream: TokenStream, batch_size: int, length: int, seed: int) -> None:
        if len(stream) < length + 1:
            raise DataError(
                f"the training split has {len(stream)} tokens, fewer than one window of "
                f"{length} + 1; give more text or a smaller --training.sequence-length"
            )
        self._stream, self._seed = stream, seed
        self.batch_size, self.length = batch_size, length
        self._cut = lru_cache(16)(self._cut_anew)
        self._epoch_starts = [0]  # the first sample of each epoch met so far

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Return this rank's part of the global batch of `step`; the last ranks' may be smaller."""
        first = step * self.batch_size
        low, high = (first + self.batch_size * r // world for r in (rank, rank + 1))
        begin, end = self.targets(low, high)
        if (end - begin == self.length).all():
            ids = torch.from_numpy(self._stream.gather(begin - 1, self.length + 1))
            return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        pairs = zip(begin.tolist(), end.tolist(), strict=True)
        return collate([self._stream.read(start - 1, stop) for start, stop in pairs], self.length)

    def targets(self, low: int, high: int) -> np.ndarray:
        """Return what samples number `low` to `high` - 1 predict: (2, n) begins and ends."""
        ranges = [np.empty((2, 0), np.int64)]
        while low < high:
            epoch, index = self._locate(low)
            key, phase, count = self._cut(epoch)
            many = min(high - low, count - index)
            window = permuted(index, index + many, count, key)
            start = 1 + window * self.length - (-phase % self.length)
            stop = np.minimum(start + self.length, len(self._stream))
            ranges.append(np.array([np.maximum(start, 1), stop]))
            low += many
        return np.concatenate(ranges, axis=1)

    def samples(self, epochs: int) -> int:
        """Return how many samples the first `epochs` epochs hold."""
        while len(self._epoch_starts) <= epochs:
            last = len(self._epoch_starts) - 1
            self._epoch_starts.append(self._epoch_starts[last] + self._cut(last)[2])
        return self._epoch_starts[epochs]

    def steps(self, epochs: int) -> int:
        """Return the optimizer steps that `epochs` epochs take; the last may reach beyond."""
        return -(-self.samples(epochs) // self.batch_size)

    def _locate(self, sample: int) -> tuple[int, int]:
        while self._epoch_starts[-1] <= sample:
            self.samples(len(self._epoch_starts))
        epoch = bisect_right(self._epoch_starts, sample) - 1
        return epoch, sample - self._epoch_starts[epoch]

    def _cut_anew(self, epoch: int) -> tuple[int, int, int]:
        """Return an epoch's key, its phase and its number of windows."""
        key = mix(mix(self._seed) ^ epoch)
        phase = mix(key ^ 0x5EED) % self.length
        targets = len(self._stream) - 1
        return key, phase, (phase > 0) + -(-(targets - phase) // self.length)


def collate(rows: list[np.ndarray], length: int) -> tuple[Tensor, Tensor]:
    """Stack rows of up to length + 1 ids into (tokens, targets), short rows padded at the end.

    Padding is ignored as a target, and being at the end no causal position can see it.
    """
    tokens = np.zeros((len(rows), length), np.int64)
    targets = np.full((len(rows), length), IGNORED, np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row) - 1] = row[:-1]
        targets[i, : len(row) - 1] = row[1:]
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


def permuted(low: int, high: int, count: int, key: int) -> np.ndarray:
    """Return where a keyed permutation of range(count) sends low to high - 1.

    It is made, and kept, a block at a time: memory is constant, and neighbours come cheap.
    """
    blocks = range(low // _PERMUTED_AT_ONCE, -(-high // _PERMUTED_AT_ONCE))
    parts = [np.empty(0, np.int64)]
    for first in (block * _PERMUTED_AT_ONCE for block in blocks):
        block = _permuted_block(first, min(first + _PERMUTED_AT_ONCE, count), count, key)
        parts.append(block[max(0, low - first) : high - first])
    return np.concatenate(parts)


@lru_cache(16)
def _permuted_block(first: int, last: int, count: int, key: int) -> np.ndarray:
    return permute(np.arange(first, last), count, key)


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
