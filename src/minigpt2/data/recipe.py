"""What a user decides about preparing text, and what of it cannot be meant."""

from dataclasses import dataclass

from minigpt2.data.cleaning import RULES
from minigpt2.data.shards import SHARD_TOKENS
from minigpt2.errors import ConfigError
from minigpt2.tokenizers import END_OF_TEXT, bpe_size


def _makes_vocabulary(tokenizer: str) -> bool:
    return tokenizer in ("char", "byte") or tokenizer.startswith("bpe:")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out, besides the text itself.

    `split`: auto, position, or document (by a hash of the content); `val` names validation files
    instead. `rules` are names of cleaning rules; `specials` join a vocabulary that is made.
    """

    tokenizer: str = "bpe:4096"
    split: str = "auto"
    val_fraction: float = 0.1
    val: tuple[str, ...] = ()
    field: str | None = None
    format: str = "auto"
    rules: tuple[str, ...] = ()
    min_length: int = 0
    skip_bad: bool = False
    specials: tuple[str, ...] = ()
    shard_tokens: int = SHARD_TOKENS

    def reads_tokenizer(self) -> bool:
        """Say whether the tokenizer is read from a folder, whose content may change."""
        return self.tokenizer != "gpt2" and not _makes_vocabulary(self.tokenizer)

    def check(self) -> None:
        """Raise ConfigError with everything that cannot be meant."""
        known = (*RULES, "duplicates")
        problems = [
            f"there is no cleaning rule {rule!r}; there are {', '.join(known)}"
            for rule in self.rules
            if rule not in known
        ]
        if not 0 < self.val_fraction < 1:
            problems.append(f"val_fraction must lie between 0 and 1, not {self.val_fraction}")
        if self.shard_tokens < 1 or self.min_length < 0:
            problems.append("shard_tokens must be at least 1 and min_length at least 0")
        if self.specials and not _makes_vocabulary(self.tokenizer):
            problems.append(f"special tokens cannot join {self.tokenizer}: its vocabulary is fixed")
        if any(len(special) < 2 or len(special.split()) != 1 for special in self.specials):
            problems.append("a special token has two characters or more and no blanks: <|user|>")
        if self.tokenizer.startswith("bpe:"):
            try:
                bpe_size(self.tokenizer, len({END_OF_TEXT, *self.specials}))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
