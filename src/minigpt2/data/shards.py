"""Token shards: ids on disk with a header, checksums in a manifest, memory-mapped when read.

A shard is a 64-byte header and then uint16 or uint32 ids. The manifest holds a CRC-32 of every
1 MiB block; a block is verified, with its id range, when it is first touched. An index of the same
form holds, as uint64, where each document starts and where its first target stands. `writing.py`
writes both.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minigpt2.errors import DataError, InputMissingError
from minigpt2.files import read_sealed, sha256_of
from minigpt2.tokenizers import Tokenizer, load_tokenizer

MAGIC, VERSION = b"MINIGPT2", 2
# magic, version, bytes an id, vocabulary size, number of ids; zeros up to 64 bytes
HEADER = struct.Struct("<8sIIQQ32x")
BLOCK_BYTES = 1 << 20
SHARD_TOKENS = 100_000_000

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
