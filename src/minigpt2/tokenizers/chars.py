"""One id a character: the vocabulary is exactly the characters of a text, sorted."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigpt2.errors import DataError
from minigpt2.tokenizers.protocol import Vocabulary


class CharTokenizer(Vocabulary):
    """Characters to ids and back.

    Special tokens take the ids after the characters'. `unknown` is the character that replaces
    one outside the vocabulary; without it such a character is a DataError that names it and its
    position.

    >>> CharTokenizer.from_text("hello").encode("hole")
    [1, 3, 2, 0]
    """

    def __init__(
        self, characters: Sequence[str], unknown: str | None = None, specials: Sequence[str] = ()
    ) -> None:
        self.characters = list(characters)
        self._ids = {character: i for i, character in enumerate(self.characters)}
        super().__init__(len(self.characters), specials)
        self._texts = [*self.characters, *self.specials]
        if unknown is not None and unknown not in self._ids:
            raise DataError(f"the replacement {unknown!r} is not in the vocabulary itself")
        self.unknown = unknown
        # The id of each code point; the last entry is that of every other one.
        points = [ord(character) for character in self.characters]
        other = self._ids.get(unknown or "", -1)
        self._table = np.full(max(points, default=0) + 2, other, np.int32)
        self._table[points] = np.arange(len(points))
        longest_first = sorted(self.recognised, key=len, reverse=True)
        self._special = re.compile("(" + ("|".join(map(re.escape, longest_first)) or "(?!)") + ")")

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """Build the vocabulary from all characters of `text`."""
        return cls(sorted(set(text)))

    def encode(self, text: str) -> list[int]:
        """Return one id a character; raises DataError at an unknown one."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> np.ndarray:
        """Return the ids as an array; raises DataError at an unknown character."""
        parts = []
        for place, part in enumerate(self._special.split(text)):
            is_special = place % 2 == 1  # what was split at stands between the rest
            parts.append([self.specials[part]] if is_special else self._letters(part, text))
        return np.concatenate(parts)

    def _letters(self, part: str, text: str) -> np.ndarray:
        points = np.frombuffer(part.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = self._table[np.minimum(points, len(self._table) - 1)]
        if (ids < 0).any():
            character, known = part[int(np.argmin(ids))], len(self.characters)
            raise DataError(
                f"character {character!r} (U+{ord(character):04X}) at position "
                f"{text.index(character)} is not among the {known} this model knows; "
                "leave it out, replace such ones (generate, chat, eval, serve: --unknown ' '), or "
                "train with --data.tokenizer byte, which knows every text"
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters of `ids`; a special token is written out."""
        return "".join(self._texts[i] for i in ids)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the UTF-8 bytes of `ids`."""
        return self.decode(ids).encode("utf-8", "surrogatepass")

    def to_json(self) -> dict[str, Any]:
        """Return a WordLevel model split on every character, as `tokenizers` reads it."""
        cutter: dict[str, Any] = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}}
        cutter |= {"behavior": "Isolated", "invert": False}
        model = {"type": "WordLevel", "vocab": self._ids, "unk_token": "<unk>"}
        return self.tree(pre_tokenizer=cutter, decoder={"type": "Fuse"}, model=model)
