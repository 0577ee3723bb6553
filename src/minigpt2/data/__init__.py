"""Matter for training: any text becomes token shards, and shards become batches.

Names are imported when they are used: preparing text needs no torch, batches do.
"""

# ruff: noqa: F401 - what is imported here for type checkers is what __all__ takes from _NAMES

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

_NAMES = {
    "batches": ("Batches", "windows"),
    "cleaning": ("DOCUMENT_RULES", "RULES"),
    "documents": ("DocumentBatches", "DocumentRows", "restart_at"),
    "pictures": ("draw_statistics",),
    "preparation": ("prepare",),
    "recipe": ("Recipe",),
    "shards": ("Dataset", "TokenStream", "open_dataset"),
    "statistics": ("bigram_loss", "describe", "with_statistics"),
    "text": ("read_text",),
}
__all__ = [name for names in _NAMES.values() for name in names]


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"minigpt2.data.{module}"), name)
    raise AttributeError(f"module 'minigpt2.data' has no attribute {name!r}")
