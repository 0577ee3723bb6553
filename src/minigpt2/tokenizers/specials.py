"""Special tokens: ids that stand for no text, and that no text can ever become."""

from collections.abc import Mapping
from typing import Any

END_OF_TEXT = "<|endoftext|>"  # GPT-2's separator between documents


def added_tokens(specials: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the entries of `tokenizer.json` for special tokens."""
    rules = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": number, "content": text, **rules, "special": True}
        for text, number in specials.items()
    ]
