"""The first reading: what there is, what is left out, and which split each document belongs to.

Two things need the whole before anything can be written: a border by position, and what is to be
left out. A byte a document remembers the decisions, so memory hardly grows with their number.
"""

import base64
import contextlib
import hashlib
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from minigpt2.data.cleaning import Cleaner
from minigpt2.data.pieces import Piece
from minigpt2.errors import DataError

OUT, TRAIN, VAL = 0, 1, 2
_NAMES = {TRAIN: "train", VAL: "val"}
_TOLD = ""  # the reason why a document is left out stands elsewhere already


@dataclass
class Survey:
    """What the first reading found; `border` is in characters, for a split by position."""

    split: str
    border: int
    separated: bool
    characters: int
    documents: int
    prompts: int  # documents whose first part is only given
    turns: int  # of these, turns of a conversation
    decisions: bytearray
    repairs: dict[str, int]
    cleaning: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON; the decisions compress to next to nothing."""
        packed = base64.b85encode(zlib.compress(bytes(self.decisions))).decode()
        return {**self.__dict__, "decisions": packed}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "Survey":
        """Read what `to_dict` wrote."""
        unpacked = bytearray(zlib.decompress(base64.b85decode(tree["decisions"])))
        values: dict[str, Any] = {**tree, "decisions": unpacked}
        return cls(**values)

    def assign(self, pieces: Iterable[Piece]) -> Iterator[tuple[str, Piece]]:
        """Yield (split, piece) for every piece that is kept; the same pieces as were surveyed."""
        number, position, decision, split = -1, 0, OUT, ""
        for piece in pieces:
            if piece.first:
                number += 1
                if number >= len(self.decisions):
                    raise DataError(f"{piece.source} changed while it was read; prepare it again")
                decision = self.decisions[number]
                split = _NAMES.get(decision, "")
                if self.split == "position":
                    split = "val" if position >= self.border else "train"
            if decision == OUT:
                continue
            if self.split == "position" and self.documents == 1:
                yield from _cut(piece, self.border - position)
            else:
                yield split, piece
            position += len(piece.prompt) + len(piece.text)


@dataclass
class SplitChoice:
    """How documents are to be split, as asked: auto, position or document; and the share."""

    kind: str
    val_fraction: float


def survey(
    pieces: Iterable[tuple[bool, Piece]],
    choice: SplitChoice,
    files_given: bool,
    cleaner: Cleaner,
    min_length: int,
    repairs: Counter[str],
    scratch_dir: Path,
) -> Survey:
    """Read everything once; `pieces` says of each whether it comes from a validation file.

    Validation files come first. What stands in them, word for word, is left out of training.
    """
    decisions, counts = bytearray(), Counter[int]()
    characters, last_start, prompts, turns, notes = 0, 0, 0, 0, []
    with _Seen(scratch_dir / "seen.sqlite") as seen:
        for document in _documents(pieces):
            reason = _reason_to_leave_out(document, cleaner, min_length, seen, files_given)
            if reason is not None:
                if reason != _TOLD:
                    repairs[reason] += 1
                decisions.append(OUT)
                continue
            by_hash = document.share < choice.val_fraction and not files_given
            decisions.append(VAL if document.held_out or by_hash else TRAIN)
            counts[decisions[-1]] += 1
            last_start = characters
            characters += document.characters
            prompts += document.prompted
            turns += bool(document.conversation)
    documents = sum(counts.values())
    if files_given and not counts[VAL]:
        raise DataError("the validation files hold no document")
    if characters < 2:
        left_out = [f"{count:,} {what}" for what, count in repairs.items()]
        left_out += [f"{t.documents:,} documents by {r}" for r, t in cleaner.tallies.items()]
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise DataError(f"the text holds {characters} characters in all{why}; that is no text yet")
    split, border = _settle(choice, files_given, counts, characters, notes)
    if (border if split == "position" else counts[TRAIN]) < 1:
        raise DataError("nothing is left to train on; use a smaller --val-fraction or other --val")
    if split == "position" and documents == 1 and prompts:
        raise DataError(
            "one prompt with its answer cannot be split; give more, or prepare with --val"
        )
    if split == "position" and documents > 1:
        border = min(border, last_start)  # at least the last document is held out
    separated = max(counts.values()) > 1 or (documents > 1 and not files_given)
    return Survey(
        split,
        border,
        separated,
        characters,
        documents,
        prompts,
        turns,
        decisions,
        dict(repairs),
        cleaner.report(),
        notes,
    )


def _settle(
    choice: SplitChoice, files_given: bool, counts: Counter[int], characters: int, notes: list[str]
) -> tuple[str, int]:
    """Choose the split: (kind, border in characters)."""
    border = int(characters * (1 - choice.val_fraction))
    if files_given:
        return "files", 0
    documents = sum(counts.values())
    if choice.kind == "position" or (choice.kind == "auto" and documents == 1):
        return "position", border
    if counts[TRAIN] and counts[VAL]:
        return "document", 0
    if choice.kind == "document":
        raise DataError(
            f"of {documents} documents none fell to {'training' if counts[VAL] else 'validation'}; "
            "use --split position, or name validation files with --val"
        )
    notes.append(f"{documents} documents are too few to draw lots: the last ones are held out")
    return "position", border


def _cut(piece: Piece, room: int) -> Iterator[tuple[str, Piece]]:
    """Divide one text's pieces between training, which has `room` characters left, and the rest."""
    here = max(0, room)
    if here:
        yield (
            "train",
            replace(piece, text=piece.text[:here], last=piece.last or here <= len(piece.text)),
        )
    if rest := piece.text[here:]:
        yield (
            "val",
            replace(piece, text=rest, prompt="", first=room >= 0, offset=piece.offset + here),
        )


@dataclass
class _Document:
    """One document as the survey sees it: counted and hashed, not kept."""

    held_out: bool
    source: str
    characters: int = 0
    bad: bool = False
    prompted: bool = False
    conversation: str = ""
    _hash: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def add(self, piece: Piece) -> None:
        self.characters += len(piece.prompt) + len(piece.text)
        self.bad |= piece.bad
        self.conversation = piece.conversation
        if piece.prompt:
            self.prompted = True
            self._hash.update(piece.prompt.encode() + b"\0")
        self._hash.update(piece.text.encode())

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    @property
    def share(self) -> float:
        """A number from 0 to 1 that depends on the content, or the conversation's, alone."""
        digest = self.digest
        if self.conversation:
            digest = hashlib.blake2b(self.conversation.encode(), digest_size=16).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def _documents(pieces: Iterable[tuple[bool, Piece]]) -> Iterator[_Document]:
    document: _Document | None = None
    for held_out, piece in pieces:
        if document is None or piece.first:
            document = _Document(held_out, piece.source)
        document.add(piece)
        if piece.last:
            yield document


def _reason_to_leave_out(
    document: _Document, cleaner: Cleaner, min_length: int, seen: "_Seen", files_given: bool
) -> str | None:
    if document.bad:
        return _TOLD  # it was noted where it was found
    if not document.characters:
        return "empty documents left out"
    if document.characters < min_length:
        _tell(cleaner, "min-length", document)
        return _TOLD
    duplicates = "duplicates" in cleaner.tallies
    if not duplicates and not files_given:
        return None
    before = seen.add(document.digest, document.held_out)
    if before == "val" and not document.held_out:
        return "training documents left out that validation holds too"
    if before and duplicates:
        _tell(cleaner, "duplicates", document)
        return _TOLD
    return None


def _tell(cleaner: Cleaner, rule: str, document: _Document) -> None:
    tally = cleaner.tallies[rule]
    tally.count(document.characters, f"{document.characters} characters of {document.source}", "")
    tally.next_document()


class _Seen:
    """The digests met so far, on disk: any number of them fits."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "_Seen":
        self._path.unlink(missing_ok=True)
        self._base = sqlite3.connect(self._path)
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")  # scratch: a crash begins it anew
        self._base.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID")
        return self

    def __exit__(self, *exception: object) -> None:
        self._base.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def add(self, digest: bytes, held_out: bool) -> str | None:
        """Remember a digest; return the split it was met in before, if it was."""
        found = self._base.execute("SELECT split FROM seen WHERE digest = ?", (digest,)).fetchone()
        if found:
            return found[0]
        split = "val" if held_out else "train"
        self._base.execute("INSERT INTO seen VALUES (?, ?)", (digest, split))
        return None
