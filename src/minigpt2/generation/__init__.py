"""The one generation engine: ids in, events out, and text streaming on top of it."""

from minigpt2.generation.engine import Ended, Engine, Request, Token, generate_ids
from minigpt2.generation.logits import adjust_logits, choose, filter_logits
from minigpt2.generation.text import (
    Piece,
    TextStream,
    engine_for,
    generate,
    generate_batch,
    prompt_ids,
    start_id,
    stream,
)
from minigpt2.sampling import Sampling

__all__ = [
    "Ended",
    "Engine",
    "Piece",
    "Request",
    "Sampling",
    "TextStream",
    "Token",
    "adjust_logits",
    "choose",
    "engine_for",
    "filter_logits",
    "generate",
    "generate_batch",
    "generate_ids",
    "prompt_ids",
    "start_id",
    "stream",
]
