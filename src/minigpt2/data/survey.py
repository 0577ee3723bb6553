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
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from minigpt2.data.documents import Cleaner, Piece, Recipe
from minigpt2.data.sources import Say
from minigpt2.errors import DataError

_SPLITS = ("", "train", "val")  # the decision about a document is a place here; the first: left out


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
    decisions: str = ""  # a byte a document, which compress to next to nothing
    repairs: dict[str, int] = field(default_factory=dict)
    cleaning: dict[str, Any] = field(default_factory=dict)

    def assign(self, pieces: Iterable[Piece]) -> Iterator[tuple[str, Piece]]:
        """Yield (split, piece) for every piece that is kept; the same pieces as were surveyed."""
        decisions = iter(zlib.decompress(base64.b85decode(self.decisions)))
        position, split = 0, ""
        for piece in pieces:
            if piece.first:
                if (decision := next(decisions, None)) is None:
                    raise DataError(f"{piece.source} changed while it was read; prepare it again")
                split = _SPLITS[decision]
                if split and self.split == "position":
                    split = "val" if position >= self.border else "train"
            if not split:
                continue
            if self.split == "position" and self.documents == 1:
                yield from _cut(piece, self.border - position)
            else:
                yield split, piece
            position += len(piece.prompt) + len(piece.text)


def survey(pieces: Iterable[Piece], recipe: Recipe, cleaner: Cleaner, say: Say) -> Survey:
    """Read everything once; `cleaner` is what cleans the pieces, and is told what is left out.

    Validation files come first. What stands in them, word for word, is left out of training.
    """
    found, counts, decisions, last_start = Survey(), Counter[str](), bytearray(), 0
    # A nameless data base lies on disk, so any number of digests fits, and goes when it is closed.
    with contextlib.closing(sqlite3.connect("")) as seen:
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID")
        for end, characters, digest in _documents(pieces):
            reason = _reason_to_leave_out(end, characters, digest, recipe, seen)
            if reason in cleaner.tallies:
                example = f"{characters} characters of {end.source}"
                cleaner.tallies[reason].count(characters, example, "")
            elif reason and not end.bad:
                cleaner.repairs[reason] += 1
            drawn = not recipe.val and _share(end, digest) < recipe.val_fraction
            split = "" if reason else "val" if end.held_out or drawn else "train"
            decisions.append(_SPLITS.index(split))
            if reason:
                continue
            counts[split] += 1
            last_start = found.characters
            found.characters += characters
            found.prompts += bool(end.prompt)
            found.turns += bool(end.conversation)
    found.decisions = base64.b85encode(zlib.compress(decisions)).decode()
    found.documents = counts.total()
    found.repairs = dict(cleaner.repairs)
    found.cleaning = {rule: asdict(tally) for rule, tally in cleaner.tallies.items()}
    if recipe.val and not counts["val"]:
        raise DataError("the validation files hold no document")
    told = [f"{count:,} {what}" for what, count in found.repairs.items()]
    if found.characters < 2:
        told += [f"{t.documents:,} documents by {r}" for r, t in cleaner.tallies.items()]
        holds = f"the text holds {found.characters} characters in all"
        why = f" ({'; '.join(told)})" if told else ""
        raise DataError(f"{holds}{why}; that is no text yet")
    for line in told:
        say(line)
    _settle(found, recipe, counts, last_start, say)
    found.separated = max(counts.values()) > 1 or (found.documents > 1 and not recipe.val)
    return found


def _settle(found: Survey, recipe: Recipe, counts: Counter[str], last_start: int, say: Say) -> None:
    """Choose the split and, for one by position, its border."""
    by_position = recipe.split == "position" or (recipe.split == "auto" and found.documents == 1)
    if recipe.val:
        found.split = "files"
    elif not by_position and counts["train"] and counts["val"]:
        found.split = "document"
    elif recipe.split == "document":
        raise DataError(
            f"of {found.documents} documents none fell to "
            f"{'training' if counts['val'] else 'validation'}; "
            "use --split position, or name validation files with --val"
        )
    else:
        found.border = int(found.characters * (1 - recipe.val_fraction))
        if not by_position:
            say(f"{found.documents} documents are too few to draw lots: the last ones are held out")
    if not (found.border if found.split == "position" else counts["train"]):
        raise DataError("nothing is left to train on; use a smaller --val-fraction or other --val")
    if found.split == "position" and found.documents > 1:
        found.border = min(found.border, last_start)  # at least the last document is held out
    elif found.split == "position" and found.prompts:
        raise DataError("one prompt with its answer cannot be split; give more, or use --val")


def _cut(piece: Piece, room: int) -> Iterator[tuple[str, Piece]]:
    """Divide one text's pieces between training, which has `room` characters left, and the rest."""
    here = max(0, room)
    if here:
        last = piece.last or here <= len(piece.text)
        yield "train", replace(piece, text=piece.text[:here], last=last)
    if rest := piece.text[here:]:
        offset = piece.offset + here
        yield "val", replace(piece, text=rest, prompt="", first=room >= 0, offset=offset)


_blake2b = partial(hashlib.blake2b, digest_size=16)


def _share(end: Piece, digest: bytes) -> float:
    """Return a number from 0 to 1 that depends on the content, or the conversation's, alone."""
    if end.conversation:
        digest = _blake2b(end.conversation.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _documents(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, int, bytes]]:
    """Yield each document's last piece, characters and digest: it is counted and not kept."""
    characters, content = 0, _blake2b()
    for piece in pieces:
        if piece.first:
            characters, content = 0, _blake2b()
        characters += len(piece.prompt) + len(piece.text)
        if piece.prompt:
            content.update(piece.prompt.encode() + b"\0")
        content.update(piece.text.encode())
        if piece.last:
            yield piece, characters, content.digest()


def _reason_to_leave_out(
    end: Piece, characters: int, digest: bytes, recipe: Recipe, seen: sqlite3.Connection
) -> str | None:
    """Return the rule that leaves a document out, or what else does."""
    if end.bad:
        return "what its reader has told"
    if not characters:
        return "empty documents left out"
    if characters < recipe.min_length:
        return "min-length"
    if not recipe.val and "duplicates" not in recipe.rules:
        return None
    row = (digest, "val" if end.held_out else "train")
    before = seen.execute("SELECT split FROM seen WHERE digest = ?", row[:1]).fetchone()
    if not before:
        seen.execute("INSERT INTO seen VALUES (?, ?)", row)
        return None
    if before == ("val",) and not end.held_out:
        return "training documents left out that validation holds too"
    return "duplicates" if "duplicates" in recipe.rules else None
