"""Special tokens: `<|endoftext|>`, which no text can become, and those a user adds to mark a text.

Added ones are recognised wherever they stand in a text: that is what they are added for.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

END_OF_TEXT = "<|endoftext|>"  # GPT-2's separator between documents


class Vocabulary:
    """What our tokenizers have alike: `size` ids of text, and special tokens after them."""

    def __init__(self, size: int, specials: Iterable[str]) -> None:
        self.specials = {text: size + place for place, text in enumerate(specials)}
        self.vocab_size = size + len(self.specials)
        self.eos_id = self.specials.get(END_OF_TEXT)
        self.chat_template: str | None = None
        self._recognised = recognised(self.specials)

    def tree(
        self, pre_tokenizer: dict[str, Any], decoder: dict[str, Any], model: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the content of a `tokenizer.json` around these parts."""
        rules = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": number, "content": text, **rules, "special": True}
                for text, number in self.specials.items()
            ],
            "normalizer": None,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": None,
            "decoder": decoder,
            "model": model,
        }


def recognised(specials: dict[str, int]) -> dict[str, int]:
    """Return the special tokens that text is searched for.

    >>> recognised({"<|endoftext|>": 256, "<|user|>": 257})
    {'<|user|>': 257}
    """
    return {text: number for text, number in specials.items() if text != END_OF_TEXT}


def encode_around(
    text: str, specials: dict[str, int], encode: Callable[[str], list[int]]
) -> list[int]:
    """Return the ids of `text`, each of `specials` in it as one, what lies between by `encode`.

    >>> encode_around("a<u>b", {"<u>": 7}, lambda part: [ord(letter) for letter in part])
    [97, 7, 98]
    """
    if not specials:
        return encode(text)
    longest_first: Iterable[str] = sorted(specials, key=len, reverse=True)
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text):
        ids += [specials[part]] if part in specials else encode(part)
    return ids
