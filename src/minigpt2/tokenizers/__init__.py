"""Tokenizers: text to ids and back, exactly.

Every tokenizer is a value: it travels inside a checkpoint as `tokenizer.json`, in the format of
the `tokenizers` library.
"""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from collections.abc import Callable, Iterable
from pathlib import Path

from minigpt2.config import bpe_size
from minigpt2.errors import ConfigError
from minigpt2.tokenizers.bpe import BPETokenizer, ByteTokenizer, byte_symbols, gpt2_tokenizer
from minigpt2.tokenizers.chars import CharTokenizer
from minigpt2.tokenizers.directory import ForeignTokenizer, load_tokenizer, tokenizer_files
from minigpt2.tokenizers.merges import count_words, learn_merges
from minigpt2.tokenizers.protocol import END_OF_TEXT, IncrementalDecoder, Tokenizer, encode_array
from minigpt2.tokenizers.transcript import NEXT_TURN, TRANSCRIPT, answers, converses, transcript


def make_tokenizer(
    name: str,
    texts: Iterable[str] = (),
    specials: tuple[str, ...] = (),
    processes: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Tokenizer:
    """Make the tokenizer a configuration names: char, byte, bpe:N, gpt2, or a directory.

    `char` takes its characters from `texts`, `bpe:N` learns its merges there, on that many
    processes and telling `progress` each. `specials` join the vocabularies that are made here.
    Raises ConfigError for a name that is none of these.
    """
    if name == "char":
        return CharTokenizer(sorted(set().union(*map(set, texts))), specials=specials)
    if name == "byte":
        return ByteTokenizer(specials)
    if name == "gpt2":
        return gpt2_tokenizer()
    if name.startswith("bpe:"):
        specials = tuple(dict.fromkeys((END_OF_TEXT, *specials)))
        number = bpe_size(name, len(specials)) - 256 - len(specials)
        merges = learn_merges(count_words(texts, processes), number, progress)
        return _distinct(BPETokenizer(merges, specials), specials, "text")
    if Path(name).exists():
        return load_tokenizer(Path(name))
    raise ConfigError(
        [f"data.tokenizer {name!r} is none of char, byte, bpe:N, gpt2, nor a directory that exists"]
    )


def _distinct(tokenizer: Tokenizer, added: Iterable[str], where: str) -> Tokenizer:
    """Return the tokenizer; raise ConfigError if a special token has the text of another one."""
    if len(tokenizer.to_json()["model"]["vocab"]) < tokenizer.vocab_size:
        raise ConfigError([f"one of {', '.join(added)} is a token of the {where} already"])
    return tokenizer


def with_specials(tokenizer: Tokenizer, names: Iterable[str]) -> Tokenizer:
    """Return the tokenizer with these special tokens added after its own ids.

    Raises ConfigError for one that cannot be added.
    """
    old: dict[str, int] = getattr(tokenizer, "specials", {})
    new = [name for name in dict.fromkeys(names) if name not in old]
    if bad := [name for name in new if len(name) < 2 or any(map(str.isspace, name))]:
        raise ConfigError([f"a special token has two characters or more and no blanks: {bad[0]!r}"])
    if not new:
        return tokenizer
    if isinstance(tokenizer, CharTokenizer):
        grown: Tokenizer = CharTokenizer(tokenizer.characters, tokenizer.unknown, (*old, *new))
    elif isinstance(tokenizer, ByteTokenizer):
        grown = ByteTokenizer((*old, *new))
    elif isinstance(tokenizer, BPETokenizer):
        grown = _distinct(BPETokenizer(tokenizer.merges, (*old, *new)), new, "vocabulary")
    elif isinstance(tokenizer, ForeignTokenizer):
        grown = tokenizer.with_specials(new)
    else:
        raise ConfigError(["special tokens cannot be added to a tokenizer of your own"])
    grown.chat_template = tokenizer.chat_template
    return grown


def replacing_unknown(tokenizer: Tokenizer, replacement: str | None) -> Tokenizer:
    """Return a tokenizer that encodes unknown characters as `replacement`; None: leave it."""
    if replacement is None or not isinstance(tokenizer, CharTokenizer):
        return tokenizer
    replacing = CharTokenizer(tokenizer.characters, replacement, tuple(tokenizer.specials))
    replacing.chat_template = tokenizer.chat_template
    return replacing
