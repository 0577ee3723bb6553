"""Token shards, both ways: ids on disk with a header, checksums in a manifest, mapped when read.

A shard is a 64-byte header and then uint16 or uint32 ids. The manifest holds a CRC-32 of every
1 MiB block; a block is verified, with its id range, when it is first touched. An index of the same
form holds, as uint64, where each document starts and where its first target stands.

To be written, text is encoded a job of a quarter of a million characters at a time, work for all
cores. A split is `NAME-00000.bin`, ... and `NAME-documents.bin`, the index. After each full shard
the state is one that a new process can take up after a kill: it encodes again the job that filled
the shard, and skips its beginning.
"""

import contextlib
import copy
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minigpt2.data.documents import PIECE_CHARACTERS, Piece
from minigpt2.errors import DataError, InputMissingError
from minigpt2.files import read_sealed, sha256_of, storage_errors
from minigpt2.tokenizers import Tokenizer, encode_array, load_tokenizer

MAGIC, VERSION = b"MINIGPT2", 2
# magic, version, bytes an id, vocabulary size, number of ids; zeros up to 64 bytes
HEADER = struct.Struct("<8sIIQQ32x")
BLOCK_BYTES = 1 << 20

Told = Callable[[int], None]  # what is called with the number of tokens just done


def id_dtype(vocab_size: int) -> np.dtype:
    """Return the type of an id on disk."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


class _Shards:
    """Files of ids as if they were one array."""

    def __init__(self, shards: list["_Shard"]) -> None:
        self._shards = shards
        self._starts = np.cumsum([0, *(shard.count for shard in shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return ids [start, stop) as int64; raises DataError where a block is damaged."""
        parts = [np.empty(0, np.int64)]
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        for shard, begin in zip(self._shards[first:], self._starts[first:].tolist(), strict=False):
            if begin >= stop:
                break
            parts.append(shard.read(max(start - begin, 0), min(stop - begin, shard.count)))
        return np.concatenate(parts)

    def verify(self, told: Told = lambda tokens: None) -> None:
        """Check every block there is; raises DataError at the first damaged one."""
        for shard in self._shards:
            shard.verify()
            told(shard.count)


class TokenStream(_Shards):
    """The ids of one split, or of several in a row, as if they were one array.

    `target_bytes` is how many bytes of text all ids but the first stand for.
    """

    def __init__(self, folder: Path, splits: list[dict[str, Any]], vocab_size: int) -> None:
        entries = [entry for split in splits for entry in split["shards"]]
        super().__init__([_Shard(folder, entry, vocab_size) for entry in entries])
        self.target_bytes = splits[0]["target_bytes"] + sum(split["bytes"] for split in splits[1:])
        self.documents = DocumentIndex(folder, splits)

    def verify(self, told: Told = lambda tokens: None) -> None:
        """Check every block of the index and of the ids; raises DataError at a damaged one."""
        self.documents.table.verify()
        super().verify(told)


class DocumentIndex:
    """Where documents start in a stream, and where what is to be predicted of each begins."""

    def __init__(self, folder: Path, splits: list[dict[str, Any]]) -> None:
        shards, self._end = [], 0
        for split in splits:
            shards.append(_Shard(folder, split["index"], split["tokens"] + 1, self._end))
            self._end += int(split["tokens"])
        self.table = _Shards(shards)  # two numbers a document

    def __len__(self) -> int:
        return len(self.table) // 2

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return start, first target and end of documents [start, stop), int64 each."""
        starts, targets = self.table.read(2 * start, 2 * stop).reshape(-1, 2).T
        after = self.table.read(2 * stop, 2 * stop + 1) if stop < len(self) else [self._end]
        return starts, targets, np.concatenate([starts[1:], after])[: len(starts)]


class _Shard:
    """One file of ids, its blocks verified as they are first touched; `base` is added to each."""

    def __init__(self, folder: Path, entry: dict[str, Any], vocab_size: int, base: int = 0) -> None:
        self.path = path = folder / entry["file"]
        self.count, self._vocab_size, self._base = int(entry["tokens"]), vocab_size, base
        width = _check_header(path, self.count, vocab_size)
        self._ids = np.memmap(path, np.dtype(f"<u{width}"), "r", HEADER.size, (self.count,))
        self._block = BLOCK_BYTES // width
        self._checksums: list[int] = entry["crc32"]
        self._verified: set[int] = set()
        if len(self._checksums) != -(-self.count // self._block):
            raise DataError(f"{path}: the manifest's checksums do not cover {self.count} ids")

    def read(self, start: int, stop: int) -> np.ndarray:
        for block in range(start // self._block, -(-stop // self._block)):
            if block not in self._verified:
                self._verify(block)
        return self._ids[start:stop].astype(np.int64) + self._base

    def verify(self) -> None:
        for block in range(len(self._checksums)):
            self._verify(block)

    def _verify(self, block: int) -> None:
        offset = HEADER.size + block * BLOCK_BYTES
        with self.path.open("rb") as file:  # not through the map, whose pages would stay
            file.seek(offset)
            content = file.read(BLOCK_BYTES)
        remedy = f"remove {self.path.parent} and prepare the data again"
        if zlib.crc32(content) != self._checksums[block]:
            raise DataError(f"{self.path}: the block at offset {offset} is damaged; {remedy}")
        if (largest := np.frombuffer(content, self._ids.dtype).max(initial=0)) >= self._vocab_size:
            raise DataError(
                f"{self.path}: id {largest} in the block at offset {offset} is outside "
                f"the vocabulary of {self._vocab_size}; {remedy}"
            )
        self._verified.add(block)


def _check_header(path: Path, count: int, vocab_size: int) -> int:
    """Verify a shard's header and size against the manifest; return the bytes an id takes."""
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    size = path.stat().st_size
    if len(head) < HEADER.size or head[:8] != MAGIC:
        raise DataError(f"{path} is not a minigpt2 shard")
    _, version, width, vocab, tokens = HEADER.unpack(head)
    if version != VERSION or width not in (2, 4, 8):
        raise DataError(f"{path}: shard version {version}, {width} bytes an id, is unknown here")
    if (vocab, tokens) != (vocab_size, count) or size != HEADER.size + count * width:
        raise DataError(f"{path}: header or size disagrees with the manifest; prepare it again")
    return width


@dataclass(frozen=True)
class Dataset:
    """A prepared data directory, opened."""

    folder: Path
    manifest: dict[str, Any]
    train: TokenStream
    val: TokenStream
    all: TokenStream

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer the data was prepared with; read when it is first asked for."""
        return load_tokenizer(self.folder)

    @property
    def separator(self) -> int | None:
        """The id that stands after each document; None: there is one text."""
        return self.tokenizer.eos_id if self.manifest["separated"] else None


def open_dataset(folder: Path) -> Dataset:
    """Open a prepared directory, verifying headers, sizes and the tokenizer's hash."""
    path = folder / "manifest.json"
    manifest = read_sealed(path)
    if manifest.get("version") != VERSION:
        raise DataError(f"{path} is no data manifest of version {VERSION}; prepare the data again")
    try:
        splits, vocab_size = manifest["splits"], int(manifest["vocab_size"])
        if sha256_of(folder / "tokenizer.json") != manifest["tokenizer_sha256"]:
            raise DataError(f"{folder}/tokenizer.json is not the one the data was prepared with")
        train, val = splits["train"], splits["val"]
        streams = [TokenStream(folder, kind, vocab_size) for kind in ([train], [val], [train, val])]
    except FileNotFoundError as error:
        raise InputMissingError(f"{error.filename} is missing; prepare the data again") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no data manifest: {error!r}") from None
    return Dataset(folder, manifest, *streams)


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
