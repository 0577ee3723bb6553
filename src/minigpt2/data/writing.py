"""Pieces to ids to shards: work for all cores, and a state to go on from after a kill.

Text is encoded a job of a quarter of a million characters at a time. A split is `NAME-00000.bin`,
... and `NAME-documents.bin`, which holds for each document where it starts in the stream and where
its first target stands. After each full shard the state is one that a new process can take up: it
encodes again the job that filled the shard, and skips its beginning.
"""

import contextlib
import copy
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minigpt2.data.documents import PIECE_CHARACTERS, Piece
from minigpt2.data.shards import BLOCK_BYTES, HEADER, MAGIC, VERSION, id_dtype
from minigpt2.errors import DataError
from minigpt2.files import storage_errors
from minigpt2.tokenizers import Tokenizer, encode_array

# The state a split begins with: whole jobs counted, how many ids of the next one are on disk
# already, and what that comes to.
_COUNTS = ("jobs", "skip", "tokens", "documents", "characters", "bytes")
State = dict[str, Any]
BEGINNING: State = {**dict.fromkeys(_COUNTS, 0), "shards": []}


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


def is_whole(split: Path, state: State) -> bool:
    """Say whether all that a state speaks of is on disk, bit for bit where it matters."""
    index = split.with_name(f"{split.name}-documents.bin")
    size = index.stat().st_size if index.exists() else HEADER.size
    shards = all(_checksums(split.with_name(s["file"])) == s["crc32"] for s in state["shards"])
    return shards and size >= HEADER.size + state["documents"] * 16


def _checksums(path: Path) -> list[int]:
    try:
        with path.open("rb") as file:
            file.seek(HEADER.size)
            return [zlib.crc32(block) for block in iter(lambda: file.read(BLOCK_BYTES), b"")]
    except OSError:
        return []


class SplitWriter:
    """Writes one split, FOLDER/NAME, going on from a state; `now` is what is written."""

    def __init__(self, split: Path, vocab_size: int, shard_tokens: int, state: State) -> None:
        self._split, self._vocab_size, self._shard_tokens = split, vocab_size, shard_tokens
        self.now = copy.deepcopy(state)
        self._shard: ShardWriter | None = None
        index = split.with_name(f"{split.name}-documents.bin")
        self._index = ShardWriter(index, np.dtype("<u8"), 2 * self.now["documents"])

    def add(self, job: Job, ids: np.ndarray, starts: np.ndarray) -> State | None:
        """Append what a job was encoded to; return the state as of the last shard it filled."""
        now, state = self.now, None
        base, ids = now["tokens"] - now["skip"], ids[now["skip"] :]
        while len(ids):
            shard = self._open_shard()
            part, ids = np.split(ids, [self._shard_tokens - shard.count])
            shard.write(part)
            now.update(tokens=now["tokens"] + len(part), skip=now["skip"] + len(part))
            if shard.count == self._shard_tokens:
                self._close_shard()
                state = copy.deepcopy(now)
        self._index.write(starts.ravel() + base)
        now.update(jobs=now["jobs"] + 1, skip=0, documents=now["documents"] + len(starts))
        now["characters"] += job.characters
        now["bytes"] += job.bytes
        return state

    def finish(self, tokenizer: Tokenizer, separator: int | None) -> dict[str, Any]:
        """Close the last shard and the index; return the split's part of the manifest."""
        now = self.now
        if self._shard or not now["shards"]:
            self._close_shard()
        path = self._split.with_name(now["shards"][0]["file"])
        first = np.fromfile(path, id_dtype(self._vocab_size), 1, offset=HEADER.size)
        unscored = [token for token in first.tolist() if token != separator]
        return {
            **{key: now[key] for key in ("documents", "characters", "bytes", "tokens", "shards")},
            "target_bytes": now["bytes"] - len(tokenizer.decode_bytes(unscored)),
            "index": self._index.close(now["tokens"] + 1),
        }

    def _open_shard(self) -> "ShardWriter":
        if self._shard is None:
            name = f"{self._split.name}-{len(self.now['shards']):05d}.bin"
            self._shard = ShardWriter(self._split.with_name(name), id_dtype(self._vocab_size))
        return self._shard

    def _close_shard(self) -> None:
        self.now["shards"].append(self._open_shard().close(self._vocab_size))
        self._shard = None
        self._index.sync()


class ShardWriter:
    """One file: 64 bytes of header, then ids; a CRC-32 for each block of 1 MiB.

    Of a file that is there already the first `count` ids are kept.
    """

    def __init__(self, path: Path, dtype: np.dtype, count: int = 0) -> None:
        self._path, self._dtype, self.count = path, dtype, count
        with self._opened("ab") as file:
            file.truncate(HEADER.size + count * dtype.itemsize)

    def write(self, ids: np.ndarray) -> None:
        """Append ids."""
        with self._opened("ab") as file:
            file.write(ids.astype(self._dtype, copy=False).tobytes())
        self.count += len(ids)

    def sync(self) -> None:
        """Make durable what is written."""
        with self._opened("r+b") as file:
            os.fsync(file.fileno())

    def close(self, vocab_size: int) -> dict[str, Any]:
        """Write the header, durably; return the entry for the manifest."""
        with self._opened("r+b") as file:
            file.write(HEADER.pack(MAGIC, VERSION, self._dtype.itemsize, vocab_size, self.count))
        self.sync()
        return {"file": self._path.name, "tokens": self.count, "crc32": _checksums(self._path)}

    @contextlib.contextmanager
    def _opened(self, mode: str) -> Iterator[Any]:
        """Open the file for one thing: whatever happens, none stays open."""
        with storage_errors(self._path), self._path.open(mode) as file:
            yield file
