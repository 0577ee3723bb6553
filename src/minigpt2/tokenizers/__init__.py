"""Tokenizers: text to ids and back, exactly.

Every tokenizer is a value: it travels inside a checkpoint as `tokenizer.json`, in the format of
the `tokenizers` library, so that `transformers.AutoTokenizer` opens it too.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from minigpt2.errors import ConfigError, DataError
from minigpt2.files import read_json
from minigpt2.tokenizers.bytes import ByteTokenizer
from minigpt2.tokenizers.chars import CharTokenizer
from minigpt2.tokenizers.decode import IncrementalDecoder


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer offers; ids run from 0 to vocab_size - 1."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The id that ends a document, if there is one."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; raise DataError for text that has none."""
        ...

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the UTF-8 bytes of `ids`, which may end within a character."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are no UTF-8 become U+FFFD."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the content of `tokenizer.json`."""
        ...


def make_tokenizer(name: str, text: str) -> Tokenizer:
    """Make the tokenizer a configuration names; `char` takes its characters from `text`."""
    if name == "char":
        return CharTokenizer.from_text(text)
    if name == "byte":
        return ByteTokenizer()
    if Path(name).is_dir():
        return load_tokenizer(Path(name))
    raise ConfigError([f"data.tokenizer {name!r} is neither char, byte nor an existing directory"])


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read `tokenizer.json` from a checkpoint or data directory."""
    path = folder / "tokenizer.json"
    return tokenizer_from_json(read_json(path), path)


def tokenizer_from_json(tree: dict[str, Any], path: Path) -> Tokenizer:
    """Recognise which of our tokenizers wrote this `tokenizer.json`."""
    model = tree.get("model")
    if isinstance(model, dict) and isinstance(model.get("vocab"), dict):
        vocab = model["vocab"]
        if not vocab:
            raise DataError(f"{path}: the vocabulary is empty")
        if sorted(vocab.values(), key=str) != sorted(range(len(vocab)), key=str):
            raise DataError(f"{path}: the vocabulary's ids are not 0 to {len(vocab) - 1}")
        symbols = sorted(vocab, key=vocab.__getitem__)
        single = all(len(symbol) == 1 for symbol in symbols)
        word_level = model.get("type") == "WordLevel" and single
        candidate: Tokenizer = CharTokenizer(symbols) if word_level else ByteTokenizer()
        if _same_rules(candidate.to_json(), tree):
            return candidate
    raise DataError(f"{path}: neither a character nor a byte tokenizer, which are those known here")


def _same_rules(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Say whether two tokenizer.json trees encode every text alike."""
    rules = ("normalizer", "pre_tokenizer", "added_tokens")
    parts = ("type", "vocab", "merges")
    return all(ours[rule] == theirs.get(rule) for rule in rules) and all(
        ours["model"].get(part) == theirs["model"].get(part) for part in parts
    )


def replacing_unknown(tokenizer: Tokenizer, replacement: str | None) -> Tokenizer:
    """Return a tokenizer that encodes unknown characters as `replacement`; None: leave it."""
    if replacement is None or not isinstance(tokenizer, CharTokenizer):
        return tokenizer
    return CharTokenizer(tokenizer.characters, replacement)


def tokenizer_files(tokenizer: Tokenizer, block_size: int) -> dict[str, bytes]:
    """Return the two files that let AutoTokenizer open a directory, as {name: content}."""
    eos = None if tokenizer.eos_id is None else tokenizer.decode([tokenizer.eos_id])
    config = {
        # Without the class AutoTokenizer picks GPT-2's own and silently gives wrong ids.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": block_size,
        "bos_token": eos,
        "eos_token": eos,
    }
    return {
        "tokenizer.json": _json_bytes(tokenizer.to_json()),
        "tokenizer_config.json": _json_bytes(config),
    }


def _json_bytes(tree: Any) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False) + "\n").encode()


__all__ = [
    "ByteTokenizer",
    "CharTokenizer",
    "IncrementalDecoder",
    "Tokenizer",
    "load_tokenizer",
    "make_tokenizer",
    "replacing_unknown",
    "tokenizer_files",
    "tokenizer_from_json",
]
