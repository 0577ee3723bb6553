"""Shards hold what was encoded, split by position, and damage never passes unseen."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from minigpt2 import files
from minigpt2.data import Recipe, documents, open_dataset, prepare, read_text, shards, writing
from minigpt2.errors import DataError, InputMissingError, UsageError
from minigpt2.tokenizers import ByteTokenizer, CharTokenizer

REFERENCE = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def make(folder, content="hello world, " * 50, tokenizer=None, **recipe):
    source = folder.parent / f"{folder.name}.txt"
    source.write_text(content, encoding="utf-8", newline="")
    tokenizer = tokenizer or CharTokenizer.from_text(content)
    return prepare([str(source)], folder, Recipe(**recipe), tokenizer=tokenizer)


def test_splits_are_the_text_by_position(tmp_path):
    content = "".join(chr(97 + i % 26) for i in range(1003))
    data = make(tmp_path / "d", content)
    assert (len(data.train), len(data.val)) == (902, 101)
    assert data.tokenizer.decode(data.train.read(0, 902)) == content[:902]
    assert data.tokenizer.decode(data.val.read(0, 101)) == content[902:]
    assert data.manifest["splits"]["train"]["bytes"] == 902


def test_bytes_split_at_a_character_too(tmp_path):
    content = "é" * 100
    data = make(tmp_path / "d", content, ByteTokenizer())
    assert data.tokenizer.decode(data.val.read(0, len(data.val))) == "é" * 10
    assert data.val.target_bytes == 19  # all but the first byte
    assert (len(data.all), data.all.target_bytes) == (200, 199)
    assert data.tokenizer.decode(data.all.read(0, 200)) == content


def test_reading_crosses_shards_and_blocks(tmp_path, monkeypatch):
    for module in (shards, writing):
        monkeypatch.setattr(module, "BLOCK_BYTES", 16)
    content = "".join(chr(97 + i % 23) for i in range(1003))
    data = make(tmp_path / "d", content, shard_tokens=101)
    assert len(data.manifest["splits"]["train"]["shards"]) == 9
    for start, stop in [(0, 902), (95, 120), (101, 202), (500, 501), (801, 902), (7, 7), (99, 104)]:
        assert data.tokenizer.decode(data.train.read(start, stop)) == content[start:stop]


def test_wide_ids_take_four_bytes(tmp_path):
    characters = [chr(i) for i in range(0x20000, 0x20000 + 70_000)]
    data = make(tmp_path / "d", "".join(characters), CharTokenizer(characters))
    assert data.manifest["dtype"] == "uint32"
    assert np.array_equal(data.train.read(0, 63_000), np.arange(63_000))


@pytest.mark.parametrize("place", [0, 9, 12, 20, 28, 63, 64, 65, 700, -1])
def test_a_flipped_bit_is_found(tmp_path, place):
    data = make(tmp_path / "d")
    path = tmp_path / "d" / "train-00000.bin"
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << (place % 8)
    path.write_bytes(raw)
    if 32 <= place < 64:  # padding of the header, which says nothing
        assert len(open_dataset(data.folder).train) == 585
        return
    with pytest.raises(DataError, match=r"train-00000\.bin"):
        again = open_dataset(data.folder)
        again.train.read(0, len(again.train))


def test_an_id_outside_the_vocabulary_names_shard_and_offset(tmp_path):
    make(tmp_path / "d", tokenizer=ByteTokenizer())
    manifest = files.read_sealed(tmp_path / "d" / "manifest.json")
    path = tmp_path / "d" / "val-00000.bin"
    ids = np.full(65, 256, "<u2").tobytes()  # with a checksum that fits
    path.write_bytes(path.read_bytes()[:64] + ids)
    manifest["splits"]["val"]["shards"][0]["crc32"] = [shards.zlib.crc32(ids)]
    (tmp_path / "d" / "manifest.json").write_bytes(files.sealed(manifest))
    with pytest.raises(
        DataError, match=r"val-00000\.bin: id 256 .* offset 64 .* vocabulary of 256"
    ):
        open_dataset(tmp_path / "d").val.read(0, 10)


def test_truncated_missing_or_foreign_files_are_named(tmp_path):
    folder = tmp_path / "d"
    make(folder)
    path = folder / "train-00000.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    with pytest.raises(DataError, match="disagrees"):
        open_dataset(folder)
    path.write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="not a minigpt2 shard"):
        open_dataset(folder)
    path.unlink()
    with pytest.raises(InputMissingError, match="train-00000"):
        open_dataset(folder)
    path.write_bytes(whole)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json is not the one"):
        open_dataset(folder)
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match="no JSON object"):
        open_dataset(folder)


def test_an_altered_manifest_is_never_believed(tmp_path):
    make(tmp_path / "d")
    path = tmp_path / "d" / "manifest.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        raw = bytearray(whole)
        raw[place] ^= 1
        path.write_bytes(raw)
        with contextlib.suppress(DataError):
            # White space may change without changing what is said.
            opened = open_dataset(tmp_path / "d").manifest
            assert opened == {k: v for k, v in json.loads(whole).items() if k != "seal"}


def test_what_we_did_not_write_is_never_replaced(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="nothing in it is touched"):
        make(tmp_path / "d")
    assert (tmp_path / "d" / "thesis.txt").read_text() == "years of work"
    make(tmp_path / "e")
    make(tmp_path / "e", "other " * 99)  # our own may be


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="position 3"):
        make(tmp_path / "d", "abcdef", CharTokenizer("abc"))
    assert [path.name for path in tmp_path.iterdir()] == ["d.txt"]


def test_an_unknown_character_far_in_is_placed(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "PIECE_CHARACTERS", 10)
    with pytest.raises(DataError, match=r"after character 23: .* position 2"):
        make(tmp_path / "d", "aaa " * 6 + "ab " + "aaa " * 9, CharTokenizer("a "))


def test_the_embedded_corpus_is_the_pinned_one():
    text = read_text("shakespeare")
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "d1b31510b5b9b22db0ca5b20c09e5d4c8a28e428c448e1a33b653c947c35ea0e"
    assert len(set(text)) == 64 and len(text) == 1_189_044


def test_the_reference_file_splits_as_the_field_does(tmp_path):
    path = os.environ.get("MINIGPT2_TINYSHAKESPEARE")
    if not path:
        pytest.skip("MINIGPT2_TINYSHAKESPEARE does not name the reference file")
    assert files.sha256_of(Path(path)) == REFERENCE
    data = prepare([path], tmp_path / "chars", Recipe(tokenizer="char"))
    assert (len(data.train), len(data.val)) == (1_003_854, 111_540)
    assert data.tokenizer.vocab_size == 65
    data = prepare([path], tmp_path / "gpt2", Recipe(tokenizer="gpt2"))
    assert (len(data.train), len(data.val)) == (301_966, 36_059)
