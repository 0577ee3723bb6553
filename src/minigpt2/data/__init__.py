"""Matter for training: any text becomes token shards, and shards become batches.

Names are imported when they are used: preparing text needs no torch, batches do.
"""

# ruff: noqa: F401 - what is imported here for type checkers is what __all__ takes from _HOME

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minigpt2.data.batches import Batches, windows
    from minigpt2.data.cleaning import DOCUMENT_RULES, RULES
    from minigpt2.data.documents import DocumentBatches, DocumentRows, restart_at
    from minigpt2.data.pictures import draw_statistics
    from minigpt2.data.preparation import prepare
    from minigpt2.data.recipe import Recipe
    from minigpt2.data.shards import Dataset, TokenStream, open_dataset
    from minigpt2.data.statistics import bigram_loss, describe, with_statistics
    from minigpt2.data.text import read_text

_HOME = {
    "Batches": "batches",
    "windows": "batches",
    "DOCUMENT_RULES": "cleaning",
    "RULES": "cleaning",
    "DocumentBatches": "documents",
    "DocumentRows": "documents",
    "restart_at": "documents",
    "prepare": "preparation",
    "Recipe": "recipe",
    "Dataset": "shards",
    "TokenStream": "shards",
    "open_dataset": "shards",
    "draw_statistics": "pictures",
    "bigram_loss": "statistics",
    "describe": "statistics",
    "with_statistics": "statistics",
    "read_text": "text",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'minigpt2.data' has no attribute {name!r}")
    return getattr(import_module(f"minigpt2.data.{_HOME[name]}"), name)
