"""Cleaning that is asked for, rule by rule, with what each rule touched and one example of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from unicodedata import is_normalized, normalize

import regex

from minigpt2.data.pieces import Piece

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
