"""Documents between the readers and the shards: in pieces, by a recipe, cleaned where it is asked.

A document is one piece, or, if it is long, several, small enough for any memory: each begins with
the white space after a word, so our tokenizers give the pieces the ids they would give the whole.
Cleaning goes rule by rule, with what each rule touched and one example of it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from unicodedata import is_normalized, normalize

import regex

from minigpt2.data.shards import SHARD_TOKENS
from minigpt2.errors import ConfigError
from minigpt2.tokenizers import END_OF_TEXT, bpe_size

# What fits the caches: pieces four times as long are encoded a fifth more slowly.
PIECE_CHARACTERS = 1 << 18


@dataclass(slots=True)  # not frozen: one is made for every record, and that would cost thrice
class Piece:
    """Part of a document, or all of it: `first` and `last` say where it stands.

    `prompt` is text that a model is given and never learns to say. Documents of one
    `conversation`, whose turns they are, fall to one split; `held_out` ones, of validation files,
    to validation. A `bad` piece ends a document that could not be read and is to be left out.
    `source` and `offset`, in characters, are for messages.
    """

    text: str
    prompt: str = ""
    first: bool = True
    last: bool = True
    bad: bool = False
    held_out: bool = False
    conversation: str = ""
    source: str = ""
    offset: int = 0


def as_pieces(texts: Iterable[str], source: str) -> Iterator[Piece]:
    """Turn one document, coming in any chunks, into pieces."""
    held, offset = "", 0
    for text in texts:
        held += text
        while len(held) > PIECE_CHARACTERS:
            cut = safe_cut(held[:PIECE_CHARACTERS])
            yield Piece(held[:cut], first=offset == 0, last=False, source=source, offset=offset)
            held, offset = held[cut:], offset + cut
    yield Piece(held, first=offset == 0, source=source, offset=offset)


def safe_cut(text: str) -> int:
    """Return where to cut: before a line end, else before a blank, that follows a word's end.

    No word of GPT-2's pattern reaches from what is no white space into what is. A text without
    such a place is cut at its end.

    >>> safe_cut("one two"), safe_cut("one\\n\\ntwo three"), safe_cut("one")
    (3, 3, 3)
    """
    for separator in "\n", " ":
        place = text.rfind(separator)
        # Nor after a control character, which cleaning may take away.
        while place > 0 and (text[place - 1] == " " or not text[place - 1].isprintable()):
            place = text.rfind(separator, 0, place)
        if place > 0:
            return place
    return len(text)


_AROUND = 20  # characters shown on either side of an example


@dataclass
class Tally:
    """What one rule touched so far; `example` is (before, after)."""

    documents: int = 0
    characters: int = 0
    example: tuple[str, str] | None = None

    def count(self, characters: int, before: str, after: str) -> None:
        """Note that the rule touched so many characters of the document at hand."""
        self.characters += characters
        self.example = self.example or (before, after)


Rule = Callable[[Iterable[Piece], Tally], Iterator[Piece]]


def _substitution(
    pattern: str, new: Callable[[str], str], is_clean: Callable[[str], bool] = lambda text: False
) -> Rule:
    """Return a rule that replaces every match of a pattern."""
    compiled = cache(partial(regex.compile, pattern))  # when it is first needed

    def clean(text: str, tally: Tally) -> str:
        def one(match: Any) -> str:
            put = new(match[0])
            if put != match[0]:
                head = text[max(0, match.start() - _AROUND) : match.start()]
                tail = text[match.end() : match.end() + _AROUND]
                tally.count(len(match[0]), head + match[0] + tail, head + put + tail)
            return put

        return text if not text or is_clean(text) else compiled().sub(one, text)

    def rule(pieces: Iterable[Piece], tally: Tally) -> Iterator[Piece]:
        for piece in pieces:
            piece.prompt, piece.text = clean(piece.prompt, tally), clean(piece.text, tally)
            yield piece

    return rule


_EDGE = r"(?im)^[ \t]*\*{{3}} ?{} OF (?:THE|THIS) PROJECT GUTENBERG EBOOK[^\n]*(?:\n|\Z)"
_START, _END = (regex.compile(_EDGE.format(edge)) for edge in ("START", "END"))


def _gutenberg(pieces: Iterable[Piece], tally: Tally) -> Iterator[Piece]:
    """Drop Project Gutenberg's preamble and licence: what is outside its START and END lines."""
    inside = over = False
    for piece in pieces:
        if piece.first:
            begin = _START.search(piece.text)
            inside, over = begin is not None, False
            if begin:
                _trim(piece, piece.text[begin.end() :].lstrip("\n"), begin[0].strip(), tally)
        if over:
            _trim(piece, "", piece.text[:_AROUND], tally)
        elif inside and (end := _END.search(piece.text)):
            over = True
            _trim(piece, piece.text[: end.start()].rstrip() + "\n", end[0].strip(), tally)
        yield piece


def _trim(piece: Piece, rest: str, example: str, tally: Tally) -> None:
    tally.count(len(piece.text) - len(rest), example, "")
    piece.text = rest


_QUOTES: dict[str, str] = {**dict.fromkeys("‘’‚‛", "'"), **dict.fromkeys("“”„‟", '"')}


def _fewer_blanks(run: str) -> str:
    """Return one blank for a run within a line; else its line ends, at most two.

    >>> _fewer_blanks(" \\t "), _fewer_blanks("  \\n"), _fewer_blanks("\\n \\n\\n")
    (' ', '\\n', '\\n\\n')
    """
    return "\n" * min(2, run.count("\n")) or " "


# In the order they are applied.
RULES: dict[str, Rule] = {
    "gutenberg": _gutenberg,
    # Unicode's composed form: one code for é, however it was typed.
    "nfc": _substitution(r"\X", partial(normalize, "NFC"), partial(is_normalized, "NFC")),
    "controls": _substitution(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]", lambda c: "\n" if c in "\v\f\x85" else ""
    ),
    "quotes": _substitution("[" + "".join(_QUOTES) + "]", lambda quote: _QUOTES[quote]),
    "blanks": _substitution(r"[ \t\u00a0]{2,}(?!\s)|[ \t\u00a0]+(?=\n)(?:[ \t\u00a0]*\n)*"
                            r"|\n(?:[ \t\u00a0]*\n){2,}", _fewer_blanks),
}  # fmt: skip
# These two look at whole documents, and are applied by the survey.
DOCUMENT_RULES = ("duplicates", "min-length")


class Cleaner:
    """Applies the chosen rules to documents, piece by piece, and remembers what they touched.

    `repairs` are what reading does without being asked, and what it leaves out.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        chosen = set(rules)
        self.tallies = {name: Tally() for name in (*RULES, *DOCUMENT_RULES) if name in chosen}
        self.repairs: Counter[str] = Counter()

    def clean(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the pieces cleaned; their number and order stay."""
        for name, tally in self.tallies.items():
            if name in RULES:
                pieces = RULES[name](pieces, tally)
        before = {name: tally.characters for name, tally in self.tallies.items()}
        for piece in pieces:
            yield piece
            if piece.last:  # and the survey has applied its rules to the document
                for name, tally in self.tallies.items():
                    tally.documents += tally.characters > before[name]
                    before[name] = tally.characters


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
