"""What a tokenizer is to the rest of the house."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer offers; ids run from 0 to vocab_size - 1."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""

    @property
    def eos_id(self) -> int | None:
        """The id that ends a document, if there is one."""

    # The Jinja template of conversations, where the model was trained on some; it travels in
    # tokenizer_config.json.
    chat_template: str | None

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; raise DataError for text that has none."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the UTF-8 bytes of `ids`, which may end within a character."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are no UTF-8 become U+FFFD."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of `tokenizer.json`."""


def encode_array(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Return the ids of `text` as an array.

    By an `encode_array` of the class that has the tokenizer's `encode`: one that was inherited
    knows nothing of an `encode` that was written since.
    """
    owner = next((kind for kind in type(tokenizer).__mro__ if "encode" in vars(kind)), object)
    quick = getattr(tokenizer, "encode_array", None) if "encode_array" in vars(owner) else None
    return quick(text) if quick else np.array(tokenizer.encode(text), dtype=np.int64)
