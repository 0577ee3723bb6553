"""The models: GPT-2 and the bigram baseline. Torch and nothing else is imported here."""

from minigpt2.model.attention import ATTENTION
from minigpt2.model.bigram import Bigram, BigramConfig
from minigpt2.model.gpt2 import (
    GPT2,
    MLP,
    Block,
    CausalSelfAttention,
    GPT2Config,
    KVCache,
    cross_entropy,
    set_attention,
)

# What the package itself builds. Anything with the same `config` and `forward` works as well.
LanguageModel = GPT2 | Bigram

__all__ = [
    "ATTENTION",
    "GPT2",
    "MLP",
    "Bigram",
    "BigramConfig",
    "Block",
    "CausalSelfAttention",
    "GPT2Config",
    "KVCache",
    "LanguageModel",
    "cross_entropy",
    "set_attention",
]
