"""Text to ids, a job of a quarter of a million characters at a time: all cores have work."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from minigpt2.data.pieces import PIECE_CHARACTERS, Piece
from minigpt2.data.writing import Encoded, id_dtype
from minigpt2.errors import DataError
from minigpt2.tokenizers import Tokenizer, encode_array


@dataclass
class Job:
    """Pieces of one split that are encoded together; `number` counts the split's jobs."""

    split: str
    number: int
    pieces: list[Piece] = field(default_factory=list)
    characters: int = 0


def jobs(assigned: Iterable[tuple[str, Piece]]) -> Iterator[Job]:
    """Gather pieces into jobs, in order within each split; the same pieces give the same jobs."""
    open_jobs = {split: Job(split, 0) for split in ("train", "val")}
    for split, piece in assigned:
        job = open_jobs[split]
        job.pieces.append(piece)
        job.characters += len(piece.prompt) + len(piece.text)
        if job.characters >= PIECE_CHARACTERS:
            yield job
            open_jobs[split] = Job(split, job.number + 1)
    yield from (job for job in open_jobs.values() if job.pieces)


class Encoder:
    """Encodes jobs; `separator` is the id that ends each document, None: there is one text."""

    def __init__(self, tokenizer: Tokenizer, separator: int | None) -> None:
        self._tokenizer = tokenizer
        self._dtype = id_dtype(tokenizer.vocab_size)
        ends = [] if separator is None else [separator]
        self._end = np.array(ends, self._dtype)

    def encode(self, job: Job) -> Encoded:
        """Return the job's ids; raises DataError, naming the document, where a text has none."""
        parts: list[np.ndarray] = []
        starts: list[tuple[int, int]] = []
        length = 0
        for piece in job.pieces:
            begin = length
            for text in (piece.prompt, piece.text):
                first_target = length
                if text:
                    parts.append(self._ids(text, piece))
                    length += len(parts[-1])
            if piece.first:
                starts.append((begin, first_target))
            if piece.last and len(self._end):
                parts.append(self._end)
                length += 1
        ids = np.concatenate(parts) if parts else self._end[:0]
        size = sum(len((piece.prompt + piece.text).encode()) for piece in job.pieces)
        table = np.array(starts, np.uint64).reshape(-1, 2)
        return Encoded(job.split, ids, table, job.characters, size)

    def _ids(self, text: str, piece: Piece) -> np.ndarray:
        try:
            return encode_array(self._tokenizer, text).astype(self._dtype)
        except DataError as error:
            after = f" after character {piece.offset}" if piece.offset else ""
            raise DataError(f"{piece.source}{after}: {error}") from None
