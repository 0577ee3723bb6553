"""Text to ids, a job of a quarter of a million characters at a time: all cores have work."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from minigpt2.data.pieces import PIECE_CHARACTERS, Piece
from minigpt2.data.shards import id_dtype
from minigpt2.errors import DataError
from minigpt2.tokenizers import Tokenizer, encode_array


@dataclass
class Job:
    """Pieces of one split that are encoded together; `number` counts the split's jobs."""

    split: str
    number: int
    pieces: list[Piece] = field(default_factory=list)
    characters: int = 0
    bytes: int = 0


def jobs(assigned: Iterable[tuple[str, Piece]]) -> Iterator[Job]:
    """Gather pieces into jobs, in order within each split; the same pieces give the same jobs."""
    open_jobs = {split: Job(split, 0) for split in ("train", "val")}
    for split, piece in assigned:
        job = open_jobs[split]
        job.pieces.append(piece)
        job.characters += len(piece.prompt) + len(piece.text)
        job.bytes += len((piece.prompt + piece.text).encode())
        if job.characters >= PIECE_CHARACTERS:
            yield job
            open_jobs[split] = Job(split, job.number + 1)
    yield from (job for job in open_jobs.values() if job.pieces)


def encode(
    tokenizer: Tokenizer, separator: int | None, job: Job
) -> tuple[Job, np.ndarray, np.ndarray]:
    """Return a job's ids, and (start, first target), from there, of each document in it.

    `separator` is the id that ends each document, None: there is one text. Raises DataError, naming
    the document, where a text has no ids.
    """
    dtype = id_dtype(tokenizer.vocab_size)
    end = np.array([] if separator is None else [separator], dtype)
    parts, starts, length = [end[:0]], [], 0
    for piece in job.pieces:
        try:
            prompt = encode_array(tokenizer, piece.prompt).astype(dtype)
            text = encode_array(tokenizer, piece.text).astype(dtype)
        except DataError as error:
            after = f" after character {piece.offset}" if piece.offset else ""
            raise DataError(f"{piece.source}{after}: {error}") from None
        if piece.first:
            starts.append((length, length + len(prompt)))
        parts += [prompt, text]
        if piece.last:
            parts.append(end)
        length += len(prompt) + len(text) + len(end) * piece.last
    return job, np.concatenate(parts), np.array(starts, np.uint64).reshape(-1, 2)
