"""From logits to the next id: temperature, top-k, top-p, in that order, as transformers does."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minigpt2.errors import UsageError

_COLDEST = 1e-5  # below it the division overflows and the likeliest token is certain anyway


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and when to stop.

    `temperature` 0 takes the likeliest token. `top_k` keeps the k likeliest, `top_p` the smallest
    set of at least that probability (Holtzman et al. 2019, arXiv 1904.09751). `stop` strings end
    a sample and are not part of it.
    """

    max_new_tokens: int = 500
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int = 1337

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature must be 0 or more, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k must be at least 1, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top-p must be above 0 and at most 1, not {self.top_p}")
        if self.max_new_tokens < 0:
            raise UsageError(f"max-new-tokens must be 0 or more, not {self.max_new_tokens}")
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(f"seed must be from 0 to 2^63 - 1, not {self.seed}")
        if "" in self.stop:
            raise UsageError("a stop string must not be empty")

    def with_seed(self, seed: int) -> "Sampling":
        """Return the same settings with another seed."""
        return replace(self, seed=seed)


def filter_logits(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """Return the logits that the sample is drawn from, (B, V), excluded tokens at -inf."""
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits_BV.shape[1]:
        least = logits_BV.topk(sampling.top_k, dim=1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least, -math.inf)
    if sampling.top_p is not None and sampling.top_p < 1:
        ascending, order = logits_BV.sort(dim=1)
        # A token goes when it and all less likely ones hold at most 1 - p together.
        outside = ascending.softmax(dim=1).cumsum(dim=1) <= 1 - sampling.top_p
        outside[:, -1] = False
        logits_BV = logits_BV.masked_fill(outside.scatter(1, order, outside), -math.inf)
    return logits_BV


def sample(logits_BV: Tensor, sampling: Sampling, generators: list[torch.Generator]) -> Tensor:
    """Draw one id a row, (B,); each row from its own generator, so that rows never interfere."""
    if sampling.temperature < _COLDEST:
        return logits_BV.argmax(dim=1)
    probabilities_BV = filter_logits(logits_BV.float(), sampling).softmax(dim=1)
    rows = zip(probabilities_BV, generators, strict=True)
    return torch.cat([torch.multinomial(row, 1, generator=generator) for row, generator in rows])
