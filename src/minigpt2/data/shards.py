"""Token shards: ids on disk with a header, checksums in a manifest, memory-mapped when read.

A shard is a 64-byte header and then uint16 or uint32 ids. The manifest holds a CRC-32 of every
1 MiB block; a block is verified, with its id range, when it is first touched.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigpt2.data.readers import Text
from minigpt2.errors import DataError, InputMissingError
from minigpt2.files import new_directory, read_sealed, sealed, sha256_of, write_file
from minigpt2.tokenizers import Tokenizer, load_tokenizer, tokenizer_files

MAGIC, VERSION = b"MINIGPT2", 1
# magic, version, bytes an id, vocabulary size, number of ids; zeros up to 64 bytes
HEADER = struct.Struct("<8sIIQQ32x")
BLOCK_BYTES = 1 << 20
SHARD_TOKENS = 100_000_000
_ENCODE_CHARACTERS = 1 << 20


class TokenStream:
    """The ids of one split, over all its shards, as if they were one array.

    `target_bytes` is how many bytes of text all ids but the first stand for.
    """

    def __init__(self, folder: Path, split: dict[str, Any], vocab_size: int) -> None:
        shards = split["shards"]
        self._shards = [_Shard(folder / entry["file"], entry, vocab_size) for entry in shards]
        self._starts = np.cumsum([0] + [shard.count for shard in self._shards])
        self.target_bytes = int(split["target_bytes"])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return ids [start, stop) as int64; raises DataError where a block is damaged."""
        pieces = []
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        for shard, offset in zip(self._shards[first:], self._starts[first:], strict=False):
            if offset >= stop:
                break
            low, high = max(start - int(offset), 0), min(stop - int(offset), shard.count)
            pieces.append(shard.read(low, high))
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)


class _Shard:
    """One file of ids, its blocks verified as they are first touched."""

    def __init__(self, path: Path, entry: dict[str, Any], vocab_size: int) -> None:
        self.path, self.count, self._vocab_size = path, int(entry["tokens"]), vocab_size
        self._checksums: list[int] = entry["crc32"]
        width = _check_header(path, self.count, vocab_size)
        self._ids = np.memmap(path, np.dtype(f"<u{width}"), "r", HEADER.size, (self.count,))
        self._block = BLOCK_BYTES // width
        self._verified = np.zeros(len(self._checksums), dtype=bool)
        if len(self._checksums) != -(-self.count // self._block):
            raise DataError(f"{path}: the manifest's checksums do not cover {self.count} ids")

    def read(self, start: int, stop: int) -> np.ndarray:
        for block in range(start // self._block, -(-stop // self._block)):
            if not self._verified[block]:
                self._verify(block)
        return self._ids[start:stop].astype(np.int64)

    def _verify(self, block: int) -> None:
        ids = self._ids[block * self._block : (block + 1) * self._block]
        offset = HEADER.size + block * BLOCK_BYTES
        remedy = "prepare the data again"
        if zlib.crc32(ids.tobytes()) != self._checksums[block]:
            raise DataError(f"{self.path}: the block at offset {offset} is damaged; {remedy}")
        if len(ids) and int(ids.max()) >= self._vocab_size:
            raise DataError(
                f"{self.path}: id {int(ids.max())} in the block at offset {offset} is outside "
                f"the vocabulary of {self._vocab_size}; {remedy}"
            )
        self._verified[block] = True


def _check_header(path: Path, count: int, vocab_size: int) -> int:
    """Verify a shard's header and size against the manifest; return the bytes an id takes."""
    try:
        with path.open("rb") as file:
            head = file.read(HEADER.size)
        size = path.stat().st_size
    except FileNotFoundError:
        raise InputMissingError(f"shard {path} is missing; prepare the data again") from None
    if len(head) < HEADER.size or head[:8] != MAGIC:
        raise DataError(f"{path} is not a minigpt2 shard")
    _, version, width, vocab, tokens = HEADER.unpack(head)
    if version != VERSION or width not in (2, 4):
        raise DataError(f"{path}: shard version {version}, {width} bytes an id, is unknown here")
    if (vocab, tokens) != (vocab_size, count) or size != HEADER.size + count * width:
        raise DataError(f"{path}: header or size disagrees with the manifest; prepare it again")
    return width


@dataclass(frozen=True)
class Dataset:
    """A prepared data directory, opened."""

    folder: Path
    manifest: dict[str, Any]
    tokenizer: Tokenizer
    train: TokenStream
    val: TokenStream
    all: TokenStream


def open_dataset(folder: Path) -> Dataset:
    """Open a prepared directory, verifying headers, sizes and the tokenizer's hash."""
    path = folder / "manifest.json"
    manifest = read_sealed(path)
    try:
        splits, vocab_size = manifest["splits"], int(manifest["vocab_size"])
        expected = manifest["tokenizer_sha256"]
        if sha256_of(folder / "tokenizer.json") != expected:
            raise DataError(f"{folder}/tokenizer.json is not the one the data was prepared with")
        both = {
            "shards": splits["train"]["shards"] + splits["val"]["shards"],
            "target_bytes": splits["train"]["target_bytes"] + splits["val"]["bytes"],
        }
        kinds = (splits["train"], splits["val"], both)
        streams = [TokenStream(folder, split, vocab_size) for split in kinds]
    except FileNotFoundError as error:
        raise InputMissingError(f"{error.filename} is missing; prepare the data again") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no data manifest: {error!r}") from None
    return Dataset(folder, manifest, load_tokenizer(folder), *streams)


def write_dataset(folder: Path, text: Text, tokenizer: Tokenizer, val_fraction: float) -> Dataset:
    """Encode `text`, split by position in characters, into a data directory, atomically.

    The first (1 - val_fraction) of the characters is the training split, the rest validation.
    """
    border = int(len(text.content) * (1 - val_fraction))
    parts = {"train": text.content[:border], "val": text.content[border:]}
    with new_directory(folder, folder.name) as temporary:
        for name, content in tokenizer_files(tokenizer, block_size=1024).items():
            write_file(temporary / name, content)
        manifest = {
            "format": "minigpt2-data",
            "version": VERSION,
            "tokenizer_sha256": sha256_of(temporary / "tokenizer.json"),
            "vocab_size": tokenizer.vocab_size,
            "dtype": f"uint{8 * _id_width(tokenizer.vocab_size)}",
            "val_fraction": val_fraction,
            "sources": [{"name": text.source, "sha256": text.sha256, "repairs": text.repairs}],
            "splits": {
                split: {
                    "characters": len(part),
                    **_write_split(temporary, split, part, tokenizer),
                }
                for split, part in parts.items()
            },
        }
        write_file(temporary / "manifest.json", sealed(manifest))
    return open_dataset(folder)


def _id_width(vocab_size: int) -> int:
    return 2 if vocab_size <= 1 << 16 else 4


def _encode(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """Encode in pieces: a list of ids costs eight times its array."""
    dtype = np.dtype(f"<u{_id_width(tokenizer.vocab_size)}")
    pieces = [np.empty(0, dtype)]
    for start in range(0, len(text), _ENCODE_CHARACTERS):
        stop = start + _ENCODE_CHARACTERS
        try:
            pieces.append(np.array(tokenizer.encode(text[start:stop]), dtype=dtype))
        except DataError:
            tokenizer.encode(text[:stop])  # fails again, with the position in the whole text
            raise
    return np.concatenate(pieces)


def _write_split(folder: Path, split: str, text: str, tokenizer: Tokenizer) -> dict[str, Any]:
    ids = _encode(text, tokenizer)
    shards = [
        _write_shard(folder / f"{split}-{number:05d}.bin", piece, tokenizer.vocab_size)
        for number, piece in enumerate(_pieces(ids, SHARD_TOKENS))
    ]
    size = len(text.encode("utf-8"))
    first = len(tokenizer.decode_bytes(ids[:1].tolist()))
    return {"tokens": len(ids), "bytes": size, "target_bytes": size - first, "shards": shards}


def _write_shard(path: Path, ids: np.ndarray, vocab_size: int) -> dict[str, Any]:
    width = ids.dtype.itemsize
    head = HEADER.pack(MAGIC, VERSION, width, vocab_size, len(ids))
    write_file(path, head + ids.tobytes())
    blocks = _pieces(ids, BLOCK_BYTES // width)
    checksums = [zlib.crc32(block.tobytes()) for block in blocks]
    return {"file": path.name, "tokens": len(ids), "crc32": checksums}


def _pieces(ids: np.ndarray, length: int) -> Iterator[np.ndarray]:
    return (ids[start : start + length] for start in range(0, len(ids), length))
