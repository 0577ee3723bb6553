"""A tokenizer of another kind, read from its `tokenizer.json` by the `tokenizers` library."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minigpt2.errors import DataError, optional_library
from minigpt2.tokenizers.specials import END_OF_TEXT

# What other makers call the token that ends a document.
_ENDS = (END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", "[SEP]")


class ForeignTokenizer:
    """Any tokenizer the `tokenizers` library knows; it decodes as that library does.

    Raises UnavailableError without the library, DataError for a file it refuses.
    """

    def __init__(self, tree: dict[str, Any], path: Path) -> None:
        needed = f"{path} is a tokenizer of another kind, which needs the library tokenizers"
        library = optional_library("tokenizers", "hub", needed)
        try:
            self._tokenizer = library.Tokenizer.from_str(json.dumps(tree))
        except Exception as error:  # the library raises nothing more special
            raise DataError(f"{path} is refused by the library tokenizers: {error}") from None
        self._tokenizer.encode_special_tokens = True  # text stays text
        self._tokenizer.no_truncation()  # and all of it stays
        self._tokenizer.no_padding()
        self._tree, self._path = tree, path
        self.chat_template: str | None = None
        self.vocab_size: int = self._tokenizer.get_vocab_size()
        ids = (self._tokenizer.token_to_id(name) for name in _ENDS)
        self.eos_id: int | None = next((i for i in ids if i is not None), None)

    def with_specials(self, names: Sequence[str]) -> "ForeignTokenizer":
        """Return the same tokenizer with more tokens, each recognised wherever it stands."""
        from tokenizers import AddedToken, Tokenizer

        grown = Tokenizer.from_str(json.dumps(self._tree))
        grown.add_tokens([AddedToken(name, normalized=False) for name in names])
        return ForeignTokenizer(json.loads(grown.to_str()), self._path)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without the tokens a template would add."""
        try:
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as error:  # the library raises nothing more special
            raise DataError(f"the tokenizer has no ids for this text: {error}") from None

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the UTF-8 bytes of that text."""
        return self.decode(ids).encode()

    def to_json(self) -> dict[str, Any]:
        """Return the file's own content."""
        return self._tree
