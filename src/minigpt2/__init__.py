"""minigpt2: GPT-2, whole. Importing the package loads no torch; using a name does."""

# ruff: noqa: F401 - what is imported here for type checkers is what __all__ takes from _ROOMS

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minigpt2 import errors

__version__ = "0.1.0"

if TYPE_CHECKING:
    from minigpt2.config import Config
    from minigpt2.data import Recipe, open_dataset, prepare
    from minigpt2.errors import (
        ConfigError,
        DataError,
        InputMissingError,
        MiniGPT2Error,
        StorageError,
        UnavailableError,
        UsageError,
    )
    from minigpt2.evaluation import evaluate
    from minigpt2.generation import generate, generate_batch
    from minigpt2.interop import from_pretrained, save_pretrained
    from minigpt2.model import GPT2, Bigram, BigramConfig, GPT2Config
    from minigpt2.sampling import Sampling
    from minigpt2.settings import resolve
    from minigpt2.tokenizers import BPETokenizer, ByteTokenizer, CharTokenizer, gpt2_tokenizer
    from minigpt2.training import train

_ROOMS = {
    "config": ("Config",),
    "data": ("Recipe", "open_dataset", "prepare"),
    "errors": [name for name in vars(errors) if name.endswith("Error")],
    "evaluation": ("evaluate",),
    "generation": ("generate", "generate_batch"),
    "interop": ("from_pretrained", "save_pretrained"),
    "model": ("GPT2", "Bigram", "BigramConfig", "GPT2Config"),
    "sampling": ("Sampling",),
    "settings": ("resolve",),
    "tokenizers": ("BPETokenizer", "ByteTokenizer", "CharTokenizer", "gpt2_tokenizer"),
    "training": ("train",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'minigpt2' has no attribute {name!r}")
    return getattr(import_module(f"minigpt2.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
