"""Byte-level BPE as GPT-2 does it: any text is bytes, and merges make of them longer tokens.

Ids are the 256 bytes in GPT-2's order, then one a merge, then the special tokens, which never
arise from text. The merges are ours to learn (`merges.py`); encoding is tiktoken's, whose Rust
core reads the same table.

Sennrich et al. 2016 (arXiv 1508.07909); Radford et al. 2019, section 2.2.
"""

import re
from collections.abc import Sequence
from functools import cache, cached_property
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
import tiktoken

from minigpt2.tokenizers.protocol import END_OF_TEXT, LAYOUT, Vocabulary

# How GPT-2 cuts text into words before any merge: contractions, then runs of letters, digits or
# other signs with the blank before them, then white space, which leaves its last blank to the word
# that follows. Possessive, so that no text can make it go back and try again.
WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


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


# The bytes in the order of their ids: printable ones first, as in the released vocabulary.
BYTE_ORDER = tuple(sorted(range(256), key=byte_symbols().__getitem__))

Merge = tuple[bytes, bytes]


class BPETokenizer(Vocabulary):
    """Text to ids by learned merges, and back, losing nothing.

    >>> tokenizer = BPETokenizer([(b"h", b"e"), (b"l", b"l"), (b"he", b"ll")])
    >>> tokenizer.encode("hello"), tokenizer.vocab_size, tokenizer.eos_id
    ([258, 78], 260, 259)
    """

    byte_order = BYTE_ORDER
    cuts_words = True  # before any merge

    def __init__(self, merges: Sequence[Merge], specials: Sequence[str] = (END_OF_TEXT,)) -> None:
        self.merges = list(merges)
        self._ranks = {bytes([byte]): rank for rank, byte in enumerate(self.byte_order)}
        for left, right in self.merges:
            self._ranks.setdefault(left + right, len(self._ranks))
        super().__init__(len(self._ranks), specials)

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        return tiktoken.Encoding(
            "minigpt2", pat_str=WORDS, mergeable_ranks=self._ranks, special_tokens=self.specials
        )

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; `<|endoftext|>` in it is text all the same."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> np.ndarray:
        """Return the ids as an array; other threads run meanwhile."""
        try:
            return self._encoding.encode_to_numpy(
                text, allowed_special=set(self.recognised), disallowed_special=()
            )
        except UnicodeEncodeError:  # lone surrogates
            return np.array(self.encode_bytes(text.encode("utf-8", "surrogatepass")), np.uint32)

    def encode_bytes(self, content: bytes) -> list[int]:
        """Return the ids of any bytes; those that are no UTF-8 take one id each."""
        ids: list[int] = []
        for part in re.findall(
            "[\udc80-\udcff]|[^\udc80-\udcff]+", content.decode("utf-8", "surrogateescape")
        ):
            raw = part.encode("utf-8", "surrogateescape")
            ids += [self._ranks[raw]] if len(raw) == 1 else self._encoding.encode_ordinary(part)
        return ids

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of `ids`, which may end within a character."""
        return self._encoding.decode_bytes(list(ids))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        """Return what `tokenizers` and `transformers` read, laid out as the released GPT-2's."""
        symbols = byte_symbols()

        def write(token: bytes) -> str:
            return "".join(map(symbols.__getitem__, token))

        model = {
            **LAYOUT["bpe"],
            "vocab": {write(token): rank for token, rank in self._ranks.items()} | self.specials,
            "merges": [f"{write(left)} {write(right)}" for left, right in self.merges],
        }
        cutter = {**LAYOUT["byte_level"], "use_regex": self.cuts_words}
        return self.tree(pre_tokenizer=cutter, decoder=cutter, model=model)


class ByteTokenizer(BPETokenizer):
    """One id a byte of the text's UTF-8: every text of every language, nothing unknown.

    Id and byte are the same number, special tokens come after.

    >>> ByteTokenizer().encode("é")
    [195, 169]
    """

    byte_order = tuple(range(256))
    cuts_words = False

    def __init__(self, specials: Sequence[str] = ()) -> None:
        super().__init__([], specials)

    def encode_array(self, text: str) -> np.ndarray:
        """Return the bytes of `text` as an array."""
        if self.recognised:
            return super().encode_array(text)
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


@cache
def gpt2_tokenizer() -> BPETokenizer:
    """Return GPT-2's own tokenizer: 50,257 ids, whose merges travel in the package (NOTICE).

    >>> gpt2_tokenizer().encode("Hello world")
    [15496, 995]
    """
    text = (resources.files("minigpt2.tokenizers") / "gpt2.bpe").read_text(encoding="utf-8")
    return BPETokenizer(parse_merges(text.splitlines()[1:]))  # after the line "#version"


def read_merges(lines: Sequence[str | Sequence[str]], specials: Sequence[str]) -> BPETokenizer:
    """Return the tokenizer of merges in byte symbols; raise KeyError or ValueError for what is none
    or would not be theirs."""
    merges = parse_merges(lines)
    if merges != gpt2_tokenizer().merges and not every_token_is_reached(merges):
        raise ValueError("a merge that no word can come to")
    return BPETokenizer(merges, specials)


def every_token_is_reached(merges: Sequence[Merge]) -> bool:
    """Say whether merging pair by pair makes each merged token out of its own bytes.

    Learned merges do. Of others tiktoken, which asks only whether two neighbours joined are a
    token, could make more tokens than the merges allow.

    >>> every_token_is_reached([(b"a", b"b"), (b"b", b"c"), (b"a", b"bc")])
    False
    """
    rank = {pair: place for place, pair in enumerate(merges)}
    return all(_merged(left + right, rank) == [left + right] for left, right in merges)


def _merged(word: bytes, rank: dict[Merge, int]) -> list[bytes]:
    """Apply the merges to one word as the paper does: the earliest first, from the left."""
    parts = [bytes([byte]) for byte in word]
    while known := [pair for pair in pairwise(parts) if pair in rank]:
        best = min(known, key=rank.__getitem__)
        place = list(pairwise(parts)).index(best)
        parts[place : place + 2] = [best[0] + best[1]]
    return parts


def parse_merges(lines: Sequence[str | Sequence[str]]) -> list[Merge]:
    """Read merges written in byte symbols, as "a b" or ["a", "b"].

    Raises KeyError or ValueError for what is neither.

    >>> parse_merges(["Ġ t", ["h", "e"]])
    [(b' ', b't'), (b'h', b'e')]
    """
    byte_of = {symbol: byte for byte, symbol in byte_symbols().items()}
    pairs = [line.split(" ") if isinstance(line, str) else line for line in lines]
    return [
        (bytes(byte_of[s] for s in left), bytes(byte_of[s] for s in right)) for left, right in pairs
    ]
