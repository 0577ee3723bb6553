"""Matter for training: any text becomes token shards, and shards become batches.

What is named here needs no torch; `batches` does, and is imported by its name.
"""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.data.documents import DOCUMENT_RULES, RULES, Recipe
from minigpt2.data.preparation import prepare
from minigpt2.data.shards import Dataset, TokenStream, open_dataset
from minigpt2.data.sources import read_text
from minigpt2.data.statistics import bigram_loss, describe, draw_statistics, with_statistics
