"""Cleaning that is asked for, rule by rule, with what each rule touched and one example of it."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import regex

from minigpt2.data.pieces import Piece

_AROUND = 20  # characters shown on either side of an example


@dataclass
class Tally:
    """What one rule touched so far; `example` is (before, after)."""

    documents: int = 0
    characters: int = 0
    example: tuple[str, str] | None = None
    _counted: bool = field(default=False, repr=False)

    def count(self, characters: int, before: str, after: str) -> None:
        """Note that the rule touched so many characters of the document at hand."""
        self.characters += characters
        if self.example is None:
            self.example = before, after
        if not self._counted:
            self.documents, self._counted = self.documents + 1, True

    def next_document(self) -> None:
        """Say that the document at hand has ended."""
        self._counted = False


class _Substitution:
    """A rule that replaces every match of a pattern."""

    def __init__(self, pattern: str, new: Callable[[str], str]) -> None:
        self._pattern, self._new = regex.compile(pattern), new

    def clean(self, piece: Piece, text: str, tally: Tally) -> str:
        def one(match: Any) -> str:
            new = self._new(match[0])
            if new != match[0]:
                head = text[max(0, match.start() - _AROUND) : match.start()]
                tail = text[match.end() : match.end() + _AROUND]
                tally.count(len(match[0]), head + match[0] + tail, head + new + tail)
            return new

        return self._pattern.sub(one, text)


class _Normalisation(_Substitution):
    """Unicode's composed form, NFC: one code for é, however it was typed."""

    def __init__(self) -> None:
        super().__init__(r"\X", lambda cluster: unicodedata.normalize("NFC", cluster))

    def clean(self, piece: Piece, text: str, tally: Tally) -> str:
        return text if unicodedata.is_normalized("NFC", text) else super().clean(piece, text, tally)


class _Gutenberg:
    """Project Gutenberg's preamble and licence: what stands outside its START and END lines."""

    _EDGE = r"(?im)^[ \t]*\*{{3}} ?{} OF (?:THE|THIS) PROJECT GUTENBERG EBOOK[^\n]*(?:\n|\Z)"
    _start, _end = regex.compile(_EDGE.format("START")), regex.compile(_EDGE.format("END"))

    def __init__(self) -> None:
        self._inside, self._over = False, False

    def clean(self, piece: Piece, text: str, tally: Tally) -> str:
        if piece.first:
            self._inside, self._over = False, False
        if self._over:
            tally.count(len(text), text[:_AROUND], "")
            return ""
        begin = self._start.search(text) if piece.first else None
        if begin:
            self._inside = True
            rest = text[begin.end() :].lstrip("\n")
            tally.count(len(text) - len(rest), begin[0].strip(), "")
            text = rest
        end = self._end.search(text) if self._inside else None
        if end:
            self._over = True
            rest = text[: end.start()].rstrip() + "\n"
            tally.count(len(text) - len(rest), end[0].strip(), "")
            text = rest
        return text


_QUOTES: dict[str, str] = {**dict.fromkeys("‘’‚‛", "'"), **dict.fromkeys("“”„‟", '"')}


def _fewer_blanks(run: str) -> str:
    """Return one blank for a run within a line; else its line ends, at most two.

    >>> _fewer_blanks(" \\t "), _fewer_blanks("  \\n"), _fewer_blanks("\\n \\n\\n")
    (' ', '\\n', '\\n\\n')
    """
    return "\n" * min(2, run.count("\n")) or " "


# In the order they are applied.
RULES: dict[str, Callable[[], Any]] = {
    "gutenberg": _Gutenberg,
    "nfc": _Normalisation,
    "controls": lambda: _Substitution(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]", lambda c: "\n" if c in "\v\f\x85" else ""
    ),
    "quotes": lambda: _Substitution("[" + "".join(_QUOTES) + "]", lambda quote: _QUOTES[quote]),
    "blanks": lambda: _Substitution(r"[ \t\u00a0]{2,}(?!\s)|[ \t\u00a0]+(?=\n)(?:[ \t\u00a0]*\n)*"
                                    r"|\n(?:[ \t\u00a0]*\n){2,}", _fewer_blanks),
}  # fmt: skip
# These two look at whole documents, and are applied by the survey.
DOCUMENT_RULES = ("duplicates", "min-length")


class Cleaner:
    """Applies the chosen rules to documents, piece by piece, and remembers what they touched."""

    def __init__(self, rules: Iterable[str]) -> None:
        chosen = set(rules)
        self.tallies = {name: Tally() for name in (*RULES, *DOCUMENT_RULES) if name in chosen}
        self._rules = {name: make() for name, make in RULES.items() if name in chosen}

    def clean(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the pieces cleaned; their number and order stay."""
        if not self._rules:
            yield from pieces
            return
        for piece in pieces:
            prompt, text = piece.prompt, piece.text
            for name, rule in self._rules.items():
                tally = self.tallies[name]
                if prompt:
                    prompt = rule.clean(piece, prompt, tally)
                text = rule.clean(piece, text, tally)
            yield replace(piece, prompt=prompt, text=text)
            if piece.last:
                for tally in self.tallies.values():
                    tally.next_document()

    def report(self) -> dict[str, dict[str, Any]]:
        """Return, for each rule, the documents and characters it touched and an example."""
        return {
            name: {"documents": t.documents, "characters": t.characters, "example": t.example}
            for name, t in self.tallies.items()
        }
