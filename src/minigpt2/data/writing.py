"""Write shards: ids as they come, a header and checksums, and a state to go on from after a kill.

A split is `NAME-00000.bin`, ... and `NAME-documents.bin`, which holds for each document where it
starts in the stream and where its first target stands. After each full shard the state is one that
a new process can take up: it encodes again the job that filled the shard, and skips its beginning.
"""

import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minigpt2.data.shards import BLOCK_BYTES, HEADER, MAGIC, VERSION
from minigpt2.files import storage_errors


@dataclass
class Encoded:
    """One job's ids, and (start, first target) of each document that starts in it, from there."""

    split: str
    ids: np.ndarray
    starts: np.ndarray
    characters: int
    bytes: int


@dataclass
class WriterState:
    """Where a split stands: whole jobs counted, and what of the next one is on disk already."""

    jobs: int = 0
    skip: int = 0
    tokens: int = 0
    documents: int = 0
    characters: int = 0
    bytes: int = 0
    shards: list[dict[str, Any]] = field(default_factory=list)


def is_whole(folder: Path, split: str, state: WriterState) -> bool:
    """Say whether all that a state speaks of is in the folder, bit for bit where it matters."""
    index = _index_path(folder, split)
    if state.documents and not (index.exists() and index.stat().st_size >= state.documents * 16):
        return False
    return all(_checksums(folder / shard["file"]) == shard["crc32"] for shard in state.shards)


def _checksums(path: Path) -> list[int]:
    try:
        with path.open("rb") as file:
            file.seek(HEADER.size)
            return [zlib.crc32(block) for block in iter(lambda: file.read(BLOCK_BYTES), b"")]
    except OSError:
        return []


def _index_path(folder: Path, split: str) -> Path:
    return folder / f"{split}-documents.part"


class SplitWriter:
    """Writes one split; `saved` is called, with the state set, when a shard is finished."""

    def __init__(
        self,
        folder: Path,
        split: str,
        vocab_size: int,
        shard_tokens: int,
        state: WriterState,
        saved: Callable[[], None],
    ) -> None:
        self._folder, self._split, self._vocab_size = folder, split, vocab_size
        self._shard_tokens, self._saved = shard_tokens, saved
        self.state = state  # of the last finished shard; `_now` runs ahead of it
        self._now = WriterState(**asdict(state))
        self._shard: ShardWriter | None = None
        self._index_path = _index_path(folder, split)
        with storage_errors(self._index_path):
            self._index = self._index_path.open("r+b" if self._index_path.exists() else "w+b")
            self._index.truncate(state.documents * 16)
            self._index.seek(0, os.SEEK_END)

    @property
    def jobs(self) -> int:
        """How many jobs need not be encoded again."""
        return self._now.jobs

    @property
    def characters(self) -> int:
        """How many characters are written."""
        return self._now.characters

    def add(self, encoded: Encoded) -> None:
        """Append one job's ids, finishing shards as they fill."""
        now, base = self._now, self._now.tokens - self._now.skip
        ids = encoded.ids[now.skip :]
        while len(ids):
            shard = self._shard or self._open_shard()
            part, ids = np.split(ids, [self._shard_tokens - shard.count])
            shard.write(part)
            now.tokens += len(part)
            now.skip += len(part)
            if shard.count == self._shard_tokens:
                self._close_shard()
        with storage_errors(self._index_path):
            self._index.write((encoded.starts + base).astype("<u8").tobytes())
        now.jobs, now.skip = now.jobs + 1, 0
        now.documents += len(encoded.starts)
        now.characters += encoded.characters
        now.bytes += encoded.bytes

    def finish(self, first_bytes: Callable[[int], int]) -> dict[str, Any]:
        """Close the last shard and the index; return the split's part of the manifest."""
        if self._shard or not self._now.shards:
            self._shard = self._shard or self._open_shard()
            self._close_shard()
        now = self._now
        first = np.fromfile(
            self._folder / now.shards[0]["file"], id_dtype(self._vocab_size), 1, offset=HEADER.size
        )
        return {
            "documents": now.documents,
            "characters": now.characters,
            "bytes": now.bytes,
            "target_bytes": now.bytes - (first_bytes(int(first[0])) if len(first) else 0),
            "tokens": now.tokens,
            "shards": now.shards,
            "index": self._finish_index(),
        }

    def close(self) -> None:
        """Let go of the files; what is not in a finished shard is forgotten."""
        self._index.close()
        if self._shard is not None:
            self._shard.abandon()

    def _open_shard(self) -> "ShardWriter":
        name = f"{self._split}-{len(self._now.shards):05d}.bin"
        dtype = id_dtype(self._vocab_size)
        self._shard = ShardWriter(self._folder / name, dtype, self._vocab_size)
        return self._shard

    def _close_shard(self) -> None:
        assert self._shard is not None
        self._now.shards.append(self._shard.close())
        self._shard = None
        with storage_errors(self._index_path):
            self._index.flush()
            os.fsync(self._index.fileno())
        self.state = WriterState(**asdict(self._now))
        self._saved()

    def _finish_index(self) -> dict[str, Any]:
        path = self._folder / f"{self._split}-documents.bin"
        writer = self._shard = ShardWriter(path, np.dtype("<u8"), self._now.tokens + 1)
        self._index.seek(0)
        while block := self._index.read(BLOCK_BYTES):
            writer.write(np.frombuffer(block, "<u8"))
        return writer.close()


class ShardWriter:
    """One file: 64 bytes of header, then ids; a CRC-32 for each block of 1 MiB."""

    def __init__(self, path: Path, dtype: np.dtype, vocab_size: int) -> None:
        self._path, self._dtype, self._vocab_size = path, dtype, vocab_size
        self.count = 0
        self._checksums: list[int] = []
        self._pending = bytearray()
        with storage_errors(path):
            self._file = path.open("wb")
            self._file.write(bytes(HEADER.size))

    def write(self, ids: np.ndarray) -> None:
        """Append ids."""
        self._pending += ids.astype(self._dtype, copy=False).tobytes()
        self.count += len(ids)
        while len(self._pending) >= BLOCK_BYTES:
            self._write_block(bytes(self._pending[:BLOCK_BYTES]))
            del self._pending[:BLOCK_BYTES]

    def close(self) -> dict[str, Any]:
        """Write what is left and the header, durably; return the entry for the manifest."""
        if self._pending:
            self._write_block(bytes(self._pending))
        width = self._dtype.itemsize
        with storage_errors(self._path), self._file as file:
            file.seek(0)
            file.write(HEADER.pack(MAGIC, VERSION, width, self._vocab_size, self.count))
            file.flush()
            os.fsync(file.fileno())
        return {"file": self._path.name, "tokens": self.count, "crc32": self._checksums}

    def abandon(self) -> None:
        """Let go of the unfinished file."""
        self._file.close()

    def _write_block(self, block: bytes) -> None:
        self._checksums.append(zlib.crc32(block))
        with storage_errors(self._path):
            self._file.write(block)


def id_dtype(vocab_size: int) -> np.dtype:
    """Return the type of an id on disk."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
