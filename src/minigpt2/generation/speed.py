"""How fast text came, and how near that is to what the machine's memory allows.

To write one token every weight is read once, so tokens a second times the bytes of the weights
can be no more than the memory delivers.
"""

import time

import torch

from minigpt2.generation.text import Piece
from minigpt2.model import LanguageModel, bytes_read

_PROBE_BYTES = 256 << 20  # more than any cache holds


class Speed:
    """A clock that starts when it is made; `rows` samples are written side by side."""

    def __init__(self, rows: int = 1) -> None:
        self._rows, self._start = rows, time.perf_counter()
        self.tokens, self.first_token_seconds, self.seconds = 0, 0.0, 0.0

    def count(self, piece: Piece) -> None:
        """Take note of what just came."""
        if piece.token is not None:
            self.tokens += 1
            self.seconds = time.perf_counter() - self._start
            if self.tokens == 1:
                self.first_token_seconds = self.seconds

    @property
    def tokens_per_second(self) -> float:
        """All tokens over all seconds, the first one's wait included."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def bandwidth_share(self, model: LanguageModel, gigabytes_per_second: float) -> float | None:
        """Return which share of the memory's speed the tokens behind the first ones took."""
        behind = self.tokens - self._rows
        seconds = self.seconds - self.first_token_seconds
        if behind <= 0 or seconds <= 0:
            return None
        return bytes_read(model) * behind / self._rows / seconds / (gigabytes_per_second * 1e9)

    def describe(self) -> str:
        """Return tokens, time to the first and tokens a second as one line."""
        return (
            f"{self.tokens} tokens, the first after {1000 * self.first_token_seconds:.0f} ms; "
            f"{self.tokens_per_second:,.1f} tokens/s"
        )


def read_gbps(device: torch.device | str = "cpu", repeats: int = 3) -> float:
    """Measure how fast memory is read, in GB/s: the best of some sums over a large array."""
    array = torch.ones(_PROBE_BYTES // 4, device=device)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        array.sum().item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return _PROBE_BYTES / best / 1e9
