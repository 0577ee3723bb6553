"""Matter for training: text becomes token shards, and shards become batches."""

from minigpt2.data.batches import Batches, windows
from minigpt2.data.readers import Text, read_text
from minigpt2.data.shards import Dataset, TokenStream, open_dataset, write_dataset

__all__ = [
    "Batches",
    "Dataset",
    "Text",
    "TokenStream",
    "open_dataset",
    "read_text",
    "windows",
    "write_dataset",
]
