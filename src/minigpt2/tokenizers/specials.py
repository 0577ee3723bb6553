"""Special tokens: `<|endoftext|>`, which no text can become, and those a user adds to mark a text.

Added ones are recognised wherever they stand in a text: that is what they are added for.
"""

from collections.abc import Iterable
from typing import Any

from minigpt2.files import facts

LAYOUT = facts(__file__)
END_OF_TEXT = "<|endoftext|>"  # GPT-2's separator between documents


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
