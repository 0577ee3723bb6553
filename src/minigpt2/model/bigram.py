"""The bigram baseline: one table of next-token logits, trained by the same trainer.

What a model must beat before its context is worth anything.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minigpt2.model.gpt2 import KVCache, cross_entropy


@dataclass(frozen=True)
class BigramConfig:
    """A bigram's size; `block_size` only bounds the windows it is fed."""

    vocab_size: int
    block_size: int = 64


class Bigram(nn.Module):
    """Row i of `table` holds the logits of what follows token i; it starts out uniform."""

    def __init__(self, config: BigramConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Parameter(torch.zeros(config.vocab_size, config.vocab_size))

    def forward(
        self, tokens: Tensor, targets: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """Logits (B, T, V) of tokens (B, T); with targets (B, T) the mean loss. No cache needed."""
        logits = self.table[tokens]
        return logits if targets is None else cross_entropy(logits, targets)
