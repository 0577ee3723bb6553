"""The models: GPT-2 and the bigram baseline. Torch and nothing else is imported here."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

import contextlib
from collections.abc import Iterator

from torch import nn

from minigpt2.model.attention import ATTENTION
from minigpt2.model.bigram import Bigram, BigramConfig
from minigpt2.model.gpt2 import GPT2, Block, GPT2Config, KVCache, set_attention
from minigpt2.model.lora import add_lora, load_lora_state, lora_layers, lora_state, merge_lora
from minigpt2.model.quantize import bytes_read, set_precision

# What the package itself builds. Anything with the same `config` and `forward` works as well.
LanguageModel = GPT2 | Bigram


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the context `model` uses no dropout; afterwards it is in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
