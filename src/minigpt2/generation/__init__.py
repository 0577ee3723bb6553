"""The one generation engine: ids in, events out, and text streaming on top of it."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.generation.engine import Ended, Engine, Event, Request, Scored, Token, Top
from minigpt2.generation.text import Piece, Writer, generate, generate_batch, prompt_ids, stream
from minigpt2.sampling import Sampling
