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
from minigpt2.data.recipe import Recipe
from minigpt2.errors import DataError

OUT, TRAIN, VAL = 0, 1, 2
_NAMES = ("", "train", "val")


@dataclass
class Survey:
    """What the first reading found; `border` is in characters, for a split by position."""

    split: str = "position"
    border: int = 0
    separated: bool = False
    characters: int = 0
    documents: int = 0
    prompts: int = 0  # documents whose first part is only given
    turns: int = 0  # of these, turns of a conversation
    decisions: bytearray = field(default_factory=bytearray)
    repairs: dict[str, int] = field(default_factory=dict)
    cleaning: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON; the decisions compress to next to nothing."""
        packed = base64.b85encode(zlib.compress(self.decisions)).decode()
        return {**self.__dict__, "decisions": packed}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "Survey":
        """Read what `to_dict` wrote."""
        unpacked = bytearray(zlib.decompress(base64.b85decode(tree["decisions"])))
        return cls(**(tree | {"decisions": unpacked}))

    def assign(self, pieces: Iterable[Piece]) -> Iterator[tuple[str, Piece]]:
        """Yield (split, piece) for every piece that is kept; the same pieces as were surveyed."""
        number, position, split = -1, 0, ""
        for piece in pieces:
            if piece.first:
                number += 1
                if number >= len(self.decisions):
                    raise DataError(f"{piece.source} changed while it was read; prepare it again")
                split = _NAMES[self.decisions[number]]
                if split and self.split == "position":
                    split = "val" if position >= self.border else "train"
            if not split:
                continue
            if self.split == "position" and self.documents == 1:
                yield from _cut(piece, self.border - position)
            else:
                yield split, piece
            position += len(piece.prompt) + len(piece.text)


def survey(pieces: Iterable[Piece], recipe: Recipe, cleaner: Cleaner, scratch_dir: Path) -> Survey:
    """Read everything once; `cleaner` is what cleans the pieces, and is told what is left out.

    Validation files come first. What stands in them, word for word, is left out of training.
    """
    found, counts, last_start = Survey(), Counter[int](), 0
    with _digests(scratch_dir / "seen.sqlite") as seen:
        for document in _documents(pieces):
            decision = OUT
            if not _is_left_out(document, recipe, cleaner, seen):
                drawn = not recipe.val and document.share < recipe.val_fraction
                decision = VAL if document.end.held_out or drawn else TRAIN
                counts[decision] += 1
                last_start = found.characters
                found.characters += document.characters
                found.prompts += bool(document.end.prompt)
                found.turns += bool(document.end.conversation)
            found.decisions.append(decision)
    found.documents = counts.total()
    found.repairs, found.cleaning = dict(cleaner.repairs), cleaner.report()
    if recipe.val and not counts[VAL]:
        raise DataError("the validation files hold no document")
    if found.characters < 2:
        left_out = [f"{count:,} {what}" for what, count in found.repairs.items()]
        left_out += [f"{t.documents:,} documents by {r}" for r, t in cleaner.tallies.items()]
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise DataError(
            f"the text holds {found.characters} characters in all{why}; that is no text yet"
        )
    _settle(found, recipe, counts, last_start)
    found.separated = max(counts.values()) > 1 or (found.documents > 1 and not recipe.val)
    return found


def _settle(found: Survey, recipe: Recipe, counts: Counter[int], last_start: int) -> None:
    """Choose the split and, for one by position, its border."""
    by_position = recipe.split == "position" or (recipe.split == "auto" and found.documents == 1)
    if recipe.val:
        found.split = "files"
    elif not by_position and counts[TRAIN] and counts[VAL]:
        found.split = "document"
    elif recipe.split == "document":
        raise DataError(
            f"of {found.documents} documents none fell to "
            f"{'training' if counts[VAL] else 'validation'}; "
            "use --split position, or name validation files with --val"
        )
    else:
        found.border = int(found.characters * (1 - recipe.val_fraction))
        if not by_position:
            found.notes.append(
                f"{found.documents} documents are too few to draw lots: the last ones are held out"
            )
    if not (found.border if found.split == "position" else counts[TRAIN]):
        raise DataError("nothing is left to train on; use a smaller --val-fraction or other --val")
    if found.split == "position" and found.documents > 1:
        found.border = min(found.border, last_start)  # at least the last document is held out
    elif found.split == "position" and found.prompts:
        raise DataError(
            "one prompt with its answer cannot be split; give more, or prepare with --val"
        )


def _cut(piece: Piece, room: int) -> Iterator[tuple[str, Piece]]:
    """Divide one text's pieces between training, which has `room` characters left, and the rest."""
    here = max(0, room)
    if here:
        last = piece.last or here <= len(piece.text)
        yield "train", replace(piece, text=piece.text[:here], last=last)
    if rest := piece.text[here:]:
        offset = piece.offset + here
        yield "val", replace(piece, text=rest, prompt="", first=room >= 0, offset=offset)


@dataclass
class _Document:
    """One document as the survey sees it: counted and hashed, only its last piece kept."""

    end: Piece
    characters: int
    digest: bytes

    @property
    def share(self) -> float:
        """A number from 0 to 1 that depends on the content, or the conversation's, alone."""
        group = self.end.conversation
        digest = _blake2b(group.encode()).digest() if group else self.digest
        return int.from_bytes(digest[:8], "big") / 2**64


def _blake2b(content: bytes = b"") -> Any:
    return hashlib.blake2b(content, digest_size=16)


def _documents(pieces: Iterable[Piece]) -> Iterator[_Document]:
    characters, content = 0, _blake2b()
    for piece in pieces:
        if piece.first:
            characters, content = 0, _blake2b()
        characters += len(piece.prompt) + len(piece.text)
        if piece.prompt:
            content.update(piece.prompt.encode() + b"\0")
        content.update(piece.text.encode())
        if piece.last:
            yield _Document(piece, characters, content.digest())


def _is_left_out(
    document: _Document, recipe: Recipe, cleaner: Cleaner, seen: sqlite3.Connection
) -> bool:
    """Say whether a document is left out; the reason is noted, unless its reader told it."""
    if document.end.bad:
        return True
    if not document.characters:
        cleaner.note("empty documents left out", 1)
        return True
    if document.characters < recipe.min_length:
        return _left_out_by("min-length", document, cleaner)
    duplicates = "duplicates" in recipe.rules
    if not duplicates and not recipe.val:
        return False
    row = (document.digest, "val" if document.end.held_out else "train")
    before = seen.execute("SELECT split FROM seen WHERE digest = ?", row[:1]).fetchone()
    if not before:
        seen.execute("INSERT INTO seen VALUES (?, ?)", row)
    elif before == ("val",) and not document.end.held_out:
        cleaner.note("training documents left out that validation holds too", 1)
        return True
    elif duplicates:
        return _left_out_by("duplicates", document, cleaner)
    return False


def _left_out_by(rule: str, document: _Document, cleaner: Cleaner) -> bool:
    size = document.characters
    cleaner.tallies[rule].count(size, f"{size} characters of {document.end.source}", "")
    return True


@contextlib.contextmanager
def _digests(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a table of the digests met so far, on disk: any number of them fits."""
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA journal_mode = OFF")
        base.execute("PRAGMA synchronous = OFF")  # scratch: a crash begins it anew
        base.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID")
        yield base
    path.unlink()
