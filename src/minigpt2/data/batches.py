"""The batch of a step, as a pure function of (seed, step, world): resuming is a number.

An epoch cuts the stream into windows of T targets, at a phase of its own, and serves them in an
order of its own. Every token but the stream's first is a target exactly once an epoch. Epochs
follow one another without end; step s takes samples s*B to (s+1)*B - 1 of that chain, whatever
the number of ranks. Nothing here grows with the corpus.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from minigpt2.data.shards import TokenStream
from minigpt2.errors import DataError

IGNORED = -100  # torch's cross_entropy leaves such targets out
_FEISTEL_ROUNDS = 6


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
        self._epoch_starts = [0]  # the first sample of each epoch met so far

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Return this rank's part of the global batch of `step`; the last ranks' may be smaller."""
        first = step * self.batch_size
        low, high = (first + self.batch_size * r // world for r in (rank, rank + 1))
        return collate(
            [self._stream.read(a - 1, b) for a, b in map(self.targets, range(low, high))],
            self.length,
        )

    def targets(self, sample: int) -> tuple[int, int]:
        """Return the range of stream positions that sample number `sample` predicts."""
        epoch, index = self._locate(sample)
        phase, count = self._phase(epoch), self._windows(epoch)
        window = permute(index, count, self._key(epoch))
        begin = 1 + window * self.length - ((self.length - phase) if phase else 0)
        return max(begin, 1), min(begin + self.length, len(self._stream))

    def samples(self, epochs: int) -> int:
        """Return how many samples the first `epochs` epochs hold."""
        while len(self._epoch_starts) <= epochs:
            last = len(self._epoch_starts) - 1
            self._epoch_starts.append(self._epoch_starts[last] + self._windows(last))
        return self._epoch_starts[epochs]

    def steps(self, epochs: int) -> int:
        """Return the optimizer steps that `epochs` epochs take; the last may reach beyond."""
        return -(-self.samples(epochs) // self.batch_size)

    def _locate(self, sample: int) -> tuple[int, int]:
        while self._epoch_starts[-1] <= sample:
            self.samples(len(self._epoch_starts))
        epoch = int(np.searchsorted(self._epoch_starts, sample, side="right")) - 1
        return epoch, sample - self._epoch_starts[epoch]

    def _key(self, epoch: int) -> int:
        return mix(mix(self._seed) ^ epoch)

    def _phase(self, epoch: int) -> int:
        return mix(self._key(epoch) ^ 0x5EED) % self.length

    def _windows(self, epoch: int) -> int:
        phase = self._phase(epoch)
        return (phase > 0) + -(-(len(self._stream) - 1 - phase) // self.length)


def collate(rows: list[np.ndarray], length: int) -> tuple[Tensor, Tensor]:
    """Stack rows of up to length + 1 ids into (tokens, targets), short rows padded at the end.

    Padding is ignored as a target, and being at the end no causal position can see it.
    """
    tokens = torch.zeros(len(rows), length, dtype=torch.int64)
    targets = torch.full((len(rows), length), IGNORED, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids = torch.from_numpy(row)
        tokens[i, : len(row) - 1] = ids[:-1]
        targets[i, : len(row) - 1] = ids[1:]
    return tokens, targets


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


def permute(index: int, count: int, key: int) -> int:
    """Return where a keyed permutation of range(count) sends `index`, in constant memory.

    A balanced Feistel network over the next power of four, walked until it lands inside
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(_FEISTEL_ROUNDS):
            left, right = right, left ^ (mix(key + turn * 0x9E3779B97F4A7C15 ^ right) & mask)
        index = left << half | right
        if index < count:
            return index


def mix(value: int) -> int:
    """Scramble 64 bits: the finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ value >> 31
