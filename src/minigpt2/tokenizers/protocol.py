"""What a tokenizer is to the rest of the house, what ours have alike, and how a stream is decoded.

Special tokens are `<|endoftext|>`, which no text can become, and those a user adds to mark a text.
Added ones are recognised wherever they stand in a text: that is what they are added for.
"""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from minigpt2.files import facts

LAYOUT = facts(__file__)
END_OF_TEXT = "<|endoftext|>"  # GPT-2's separator between documents


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


class Vocabulary:
    """What our tokenizers have alike: `size` ids of text, and special tokens after them."""

    def __init__(self, size: int, specials: Iterable[str]) -> None:
        self.specials = {text: size + place for place, text in enumerate(specials)}
        self.vocab_size = size + len(self.specials)
        self.eos_id = self.specials.get(END_OF_TEXT)
        self.chat_template: str | None = None
        # Those that text is searched for.
        self.recognised = [text for text in self.specials if text != END_OF_TEXT]

    def tree(self, **parts: dict[str, Any]) -> dict[str, Any]:
        """Return the content of a `tokenizer.json` with these parts."""
        added = [
            {**LAYOUT["added_token"], "id": number, "content": text}
            for text, number in self.specials.items()
        ]
        return {**LAYOUT["tokenizer"], "added_tokens": added, **parts}


class IncrementalDecoder:
    """Feed ids one by one, get the text that is certain so far: never half a character.

    A token may end within a UTF-8 sequence; its bytes wait until the rest has come.
    The pieces joined equal the tokenizer's `decode` of all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """Return the characters that this id completes, perhaps none."""
        return self._decoder.decode(self._tokenizer.decode_bytes([token_id]))

    def finish(self) -> str:
        """Return what is left: an unfinished sequence becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)
