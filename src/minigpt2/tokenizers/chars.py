"""One id a character: the vocabulary is exactly the characters of a text, sorted."""

from collections.abc import Sequence
from typing import Any

from minigpt2.errors import DataError


class CharTokenizer:
    """Characters to ids and back.

    `unknown` is the character that replaces one outside the vocabulary; without it such a
    character is a DataError that names it and its position.

    >>> CharTokenizer.from_text("hello").encode("hole")
    [1, 3, 2, 0]
    """

    eos_id: int | None = None

    def __init__(self, characters: Sequence[str], unknown: str | None = None) -> None:
        self.characters = list(characters)
        self._ids = {character: i for i, character in enumerate(self.characters)}
        if unknown is not None and unknown not in self._ids:
            raise DataError(f"the replacement {unknown!r} is not in the vocabulary itself")
        self.unknown = unknown

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """Build the vocabulary from all characters of `text`."""
        return cls(sorted(set(text)))

    @property
    def vocab_size(self) -> int:
        """Number of distinct characters."""
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Return one id a character; raises DataError at an unknown one."""
        try:
            return [self._ids[character] for character in text]
        except KeyError as missing:
            if self.unknown is not None:
                default = self._ids[self.unknown]
                return [self._ids.get(character, default) for character in text]
            character = missing.args[0]
            raise DataError(
                f"character {character!r} (U+{ord(character):04X}) at position "
                f"{text.index(character)} is not among the {self.vocab_size} this model knows; "
                "leave it out, replace unknown ones with --unknown ' ', or train with "
                "--data.tokenizer byte, which knows every text"
            ) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters of `ids`."""
        return "".join(self.characters[i] for i in ids)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the UTF-8 bytes of `ids`."""
        return self.decode(ids).encode("utf-8", "surrogatepass")

    def to_json(self) -> dict[str, Any]:
        """Return a WordLevel model split on every character, as `tokenizers` reads it."""
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": r"[\s\S]"},
                "behavior": "Isolated",
                "invert": False,
            },
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": {"type": "WordLevel", "vocab": self._ids, "unk_token": "<unk>"},
        }
