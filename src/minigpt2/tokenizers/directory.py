"""Tokenizers on disk: `tokenizer.json`, which `transformers.AutoTokenizer` opens too.

One of another kind than ours is read by the `tokenizers` library.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minigpt2.errors import DataError, optional_library
from minigpt2.files import json_bytes, read_json
from minigpt2.tokenizers.bpe import BPETokenizer, ByteTokenizer, read_merges
from minigpt2.tokenizers.chars import CharTokenizer
from minigpt2.tokenizers.protocol import END_OF_TEXT, LAYOUT, Tokenizer

_OLD_MERGES = ("merges.txt", "vocab.bpe")  # what GPT-2 directories had before tokenizer.json
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


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a checkpoint, data or model directory, or a tokenizer.json itself.

    Raises InputMissingError where there is none, DataError for one that cannot be used.
    """
    path = folder if folder.is_file() else folder / "tokenizer.json"
    olds = [folder / name for name in _OLD_MERGES if (folder / name).is_file()]
    if olds and not path.exists():
        return _from_merges(olds[0])
    tokenizer = tokenizer_from_json(read_json(path), path)
    beside = path.with_name("tokenizer_config.json")
    template = read_json(beside).get("chat_template") if beside.is_file() else None
    # It is compared and written, never run.
    tokenizer.chat_template = template if isinstance(template, str) else None
    return tokenizer


def tokenizer_from_json(tree: dict[str, Any], path: Path) -> Tokenizer:
    """Recognise a `tokenizer.json`; what is not one of our kinds is the `tokenizers` library's."""
    model = tree.get("model")
    if not isinstance(model, dict) or "type" not in model:
        raise DataError(f"{path} is no tokenizer: it lacks a model")
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        if not vocab:
            raise DataError(f"{path}: the vocabulary is empty")
        if sorted(vocab.values(), key=str) != sorted(range(len(vocab)), key=str):
            raise DataError(f"{path}: the vocabulary's ids are not 0 to {len(vocab) - 1}")
        # Whatever raises one of these, it is not what we write.
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            for candidate in _candidates(tree, vocab):
                if _rules(candidate.to_json()) == _rules(tree):
                    return candidate
    return ForeignTokenizer(tree, path)


def tokenizer_files(tokenizer: Tokenizer, block_size: int) -> dict[str, bytes]:
    """Return the two files that let AutoTokenizer open a directory, as {name: content}."""
    eos = None if tokenizer.eos_id is None else tokenizer.decode([tokenizer.eos_id])
    ends = {"bos_token": eos, "eos_token": eos}
    config = {**LAYOUT["config"], "model_max_length": block_size, **ends}
    if tokenizer.chat_template is not None:
        config["chat_template"] = tokenizer.chat_template
    return {
        "tokenizer.json": json_bytes(tokenizer.to_json(), ensure_ascii=False),
        "tokenizer_config.json": json_bytes(config, ensure_ascii=False),
    }


def _from_merges(path: Path) -> Tokenizer:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        made = read_merges([line for line in lines if not line.startswith("#v")], [END_OF_TEXT])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} holds no merges: {error!r}") from None
    vocabulary = path.with_name("vocab.json")
    if vocabulary.is_file() and read_json(vocabulary) != made.to_json()["model"]["vocab"]:
        raise DataError(
            f"{vocabulary} numbers its tokens otherwise than GPT-2; a tokenizer.json is needed"
        )
    return made


def _candidates(tree: dict[str, Any], vocab: dict[str, int]) -> list[Tokenizer]:
    """Return our tokenizers that could have this vocabulary."""
    added = sorted(tree.get("added_tokens") or [], key=lambda entry: entry["id"])
    specials = [str(entry["content"]) for entry in added]
    symbols = [s for s in sorted(vocab, key=vocab.__getitem__) if s not in specials]
    if tree["model"]["type"] == "WordLevel":
        single = all(len(symbol) == 1 for symbol in symbols)
        return [CharTokenizer(symbols, specials=specials)] if single else []
    if not (merges := tree["model"]["merges"]):
        return [ByteTokenizer(specials), BPETokenizer([], specials)]
    return [read_merges(merges, specials)]


def _rules(tree: dict[str, Any]) -> tuple[Any, ...]:
    """Return what decides about ids, in one form for all who write the file."""
    model, cutter = tree["model"], dict(tree.get("pre_tokenizer") or {})
    cutter.setdefault("use_regex", True)  # the library's default, which older files leave out
    merges = [m if isinstance(m, str) else " ".join(m) for m in model.get("merges", [])]
    entries = tree.get("added_tokens") or []
    vocab = model["vocab"] | {entry["content"]: entry["id"] for entry in entries}
    # How a token is looked for in text; nobody looks for the end of text.
    sought = [entry for entry in entries if entry["content"] != END_OF_TEXT]
    flags = ("id", "content", "single_word", "lstrip", "rstrip")
    added = sorted([entry.get(flag) for flag in flags] for entry in sought)
    return tree.get("normalizer"), cutter, added, model["type"], vocab, merges
