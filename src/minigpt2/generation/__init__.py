"""The one generation engine: ids in, ids out, and text streaming on top of it."""

from minigpt2.generation.engine import decode
from minigpt2.generation.sampling import Sampling, filter_logits, sample
from minigpt2.generation.text import TextStream, generate, generate_many

__all__ = [
    "Sampling",
    "TextStream",
    "decode",
    "filter_logits",
    "generate",
    "generate_many",
    "sample",
]
