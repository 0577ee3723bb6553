"""The frame of every `tokenizer.json`: what our tokenizers say alike, in one order."""

from collections.abc import Mapping
from typing import Any


def tokenizer_tree(
    specials: Mapping[str, int],
    pre_tokenizer: dict[str, Any],
    decoder: dict[str, Any],
    model: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of a `tokenizer.json` around these parts."""
    rules = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": text, **rules, "special": True}
            for text, number in specials.items()
        ],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def byte_level(use_regex: bool) -> dict[str, Any]:
    """Return the cutter and decoder of byte symbols; with the pattern, words are cut first."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }
