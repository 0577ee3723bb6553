"""minigpt2: GPT-2, whole. Importing the package loads no torch; using a name does."""

# ruff: noqa: F401 - what is imported here for type checkers is what __all__ takes from _HOME

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from minigpt2.config import Config
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
    from minigpt2.tokenizers import ByteTokenizer, CharTokenizer
    from minigpt2.training import train

_HOME = {
    "from_pretrained": "interop",
    "save_pretrained": "interop",
    "Config": "config",
    "ConfigError": "errors",
    "DataError": "errors",
    "InputMissingError": "errors",
    "MiniGPT2Error": "errors",
    "StorageError": "errors",
    "UnavailableError": "errors",
    "UsageError": "errors",
    "evaluate": "evaluation",
    "Sampling": "sampling",
    "generate": "generation",
    "generate_batch": "generation",
    "GPT2": "model",
    "Bigram": "model",
    "BigramConfig": "model",
    "GPT2Config": "model",
    "resolve": "settings",
    "ByteTokenizer": "tokenizers",
    "CharTokenizer": "tokenizers",
    "BPETokenizer": "tokenizers",
    "gpt2_tokenizer": "tokenizers",
    "Recipe": "data",
    "prepare": "data",
    "open_dataset": "data",
    "train": "training",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'minigpt2' has no attribute {name!r}")
    return getattr(import_module(f"minigpt2.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
