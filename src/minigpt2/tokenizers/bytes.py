"""One id a byte of the text's UTF-8: 256 ids, every text of every language, nothing unknown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigpt2.tokenizers.specials import Vocabulary, encode_around


class ByteTokenizer(Vocabulary):
    """Bytes to ids and back; id and byte are the same number, special tokens come after.

    >>> ByteTokenizer().encode("é")
    [195, 169]
    """

    def __init__(self, specials: Sequence[str] = ()) -> None:
        super().__init__(256, specials)
        self._texts = list(self.specials)

    def encode(self, text: str) -> list[int]:
        """Return the bytes of `text` in UTF-8."""
        return encode_around(
            text, self._recognised, lambda part: list(part.encode("utf-8", "surrogatepass"))
        )

    def encode_array(self, text: str) -> np.ndarray:
        """Return the ids as an array."""
        if self._recognised:
            return np.array(self.encode(text), np.int64)
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes themselves; a special token is written out."""
        if not self.specials:
            return bytes(list(ids))  # an array handed to bytes() would give its buffer
        parts = (bytes([i]) if i < 256 else self._texts[i - 256].encode() for i in ids)
        return b"".join(parts)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        """Return a byte-level BPE without merges, as `tokenizers` reads it."""
        symbols = byte_symbols()
        vocab = {symbols[byte]: byte for byte in range(256)}
        model = {"type": "BPE", "vocab": vocab, "merges": []}
        return self.tree(byte_level(False), byte_level(False), model)


def byte_level(use_regex: bool) -> dict[str, Any]:
    """Return the cutter and decoder of byte symbols; with the pattern, words are cut first."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def byte_symbols() -> dict[int, str]:
    """Return GPT-2's printable stand-in for each byte.

    Printable Latin-1 bytes stand for themselves, the others take code points from 256 upward.

    >>> byte_symbols()[ord("A")], byte_symbols()[ord(" ")]
    ('A', 'Ġ')
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {byte: chr(256 + i) for i, byte in enumerate(others)}
    return {byte: chr(byte) for byte in printable} | shifted
