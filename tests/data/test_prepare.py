"""Prepare: every format, splits that hold, cleaning that tells, and nothing lost to a kill."""

import bz2
import collections
import contextlib
import csv
import gzip
import inspect
import itertools
import json
import lzma
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt2 import files
from minigpt2.cli.prepare import prepare as command
from minigpt2.data import RULES, Recipe, open_dataset, prepare
from minigpt2.data import documents as pieces
from minigpt2.data.documents import Cleaner
from minigpt2.data.readers import FORMATS
from minigpt2.data.statistics import bigram_loss, describe, unigram_loss
from minigpt2.errors import ConfigError, DataError, StorageError, UsageError
from minigpt2.files import read_sealed
from minigpt2.tokenizers import CharTokenizer

POEMS = [f"poem {i}: a line\nand another, é😀 {i * i}" + "\n" * (i % 2) for i in range(30)]


def documents(data):
    """Return the texts of a dataset, split by split."""
    texts = {}
    for name, stream in (("train", data.train), ("val", data.val)):
        start, _, end = stream.documents.read(0, len(stream.documents))
        last = 0 if data.separator is None else 1
        texts[name] = [
            data.tokenizer.decode(stream.read(int(a), int(b) - last).tolist())
            for a, b in zip(start, end, strict=True)
        ]
    return texts


def everything(data):
    return sorted(text for texts in documents(data).values() for text in texts)


def write_jsonl(path, texts, opener=open):
    with opener(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": 1, "text": text}) + "\n" for text in texts)


@pytest.fixture
def mixed(tmp_path):
    """A folder with every format and compression; returns it and its documents."""
    folder = tmp_path / "mixed"
    (folder / "deep" / "er").mkdir(parents=True)
    for number, text in enumerate(POEMS[:3]):
        (folder / f"{number}.txt").write_bytes(text.encode())
    (folder / "deep" / "3.md").write_bytes(POEMS[3].encode())
    (folder / "deep" / "4.txt.gz").write_bytes(gzip.compress(POEMS[4].encode()))
    (folder / "deep" / "er" / "5.txt.xz").write_bytes(lzma.compress(POEMS[5].encode()))
    (folder / "6.TXT.bz2").write_bytes(bz2.compress(POEMS[6].encode()))
    with pyarrow.CompressedOutputStream(str(folder / "7.txt.zst"), "zstd") as stream:
        stream.write(POEMS[7].encode())
    write_jsonl(folder / "a.jsonl.gz", POEMS[8:14], gzip.open)
    write_jsonl(folder / "b.jsonl", POEMS[14:16])
    for name, dialect in (("c.csv", "excel"), ("d.tsv", "excel-tab")):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, dialect)
            rows.writerow(["id", "text"])
            chosen = POEMS[16:20] if name == "c.csv" else POEMS[20:22]
            rows.writerows([[1, text] for text in chosen])
    table = pyarrow.table({"text": POEMS[22:], "id": list(range(8))})
    pyarrow.parquet.write_table(table, folder / "e.parquet")
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    (folder / ".hidden.txt").write_text("no")
    return folder


def test_every_format_and_compression_is_read(mixed, tmp_path):
    said = []
    data = prepare([str(mixed)], tmp_path / "d", Recipe(tokenizer="byte"), say=said.append)
    assert everything(data) == sorted(POEMS)
    assert said == [f"{mixed}: passed over 1 .png"]
    assert data.manifest["split"] == "document" and data.separator == 256


def test_the_same_documents_in_any_container_are_the_same_data(mixed, tmp_path):
    """Split and merges depend on what is said, not on the file that says it."""
    one = tmp_path / "all.jsonl"
    files = prepare([str(mixed)], tmp_path / "a", Recipe(tokenizer="bpe:300"))
    write_jsonl(one, [*documents(files)["train"], *documents(files)["val"]])
    lines = prepare([str(one)], tmp_path / "b", Recipe(tokenizer="bpe:300"))
    assert documents(files) == documents(lines)
    assert files.tokenizer.to_json() == lines.tokenizer.to_json()


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe:400", "gpt2"])
def test_each_tokenizer_gives_the_text_back(tokenizer, mixed, tmp_path):
    data = prepare([str(mixed)], tmp_path / "d", Recipe(tokenizer=tokenizer))
    assert everything(data) == sorted(POEMS)
    for split in ("train", "val"):
        facts, texts = data.manifest["splits"][split], documents(data)[split]
        assert facts["documents"] == len(texts)
        assert facts["characters"] == sum(map(len, texts))
        assert facts["bytes"] == sum(len(text.encode()) for text in texts)


def test_one_text_is_split_by_position(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 95 + "y" * 5)
    data = prepare([str(tmp_path / "a.txt")], tmp_path / "one", Recipe(tokenizer="byte"))
    assert documents(data) == {"train": ["x" * 90], "val": ["x" * 5 + "y" * 5]}
    assert data.separator is None


def test_a_border_within_pieces_is_exact(tmp_path, monkeypatch):
    text = " ".join(str(number) for number in range(5000))
    (tmp_path / "a.txt").write_text(text)
    whole = prepare([str(tmp_path / "a.txt")], tmp_path / "w", Recipe(tokenizer="gpt2"))
    for size in (7, 100, 9999):
        monkeypatch.setattr(pieces, "PIECE_CHARACTERS", size)
        data = prepare([str(tmp_path / "a.txt")], tmp_path / str(size), Recipe(tokenizer="gpt2"))
        for ours, theirs in ((data.train, whole.train), (data.val, whole.val)):
            assert np.array_equal(ours.read(0, len(ours)), theirs.read(0, len(theirs)))
        border = int(len(text) * 0.9)
        assert documents(data) == {"train": [text[:border]], "val": [text[border:]]}


def test_adding_documents_never_moves_one_across(tmp_path):
    texts = [f"document {number}" for number in range(300)]
    sides = []
    for count in (100, 300):
        write_jsonl(tmp_path / "x.jsonl", texts[:count])
        recipe = Recipe(tokenizer="byte")
        data = prepare([str(tmp_path / "x.jsonl")], tmp_path / str(count), recipe)
        sides.append(documents(data))
    for split in ("train", "val"):
        assert set(sides[0][split]) <= set(sides[1][split])
    assert not set(sides[1]["train"]) & set(sides[1]["val"])
    assert 10 <= len(sides[1]["val"]) <= 50  # a tenth of 300, drawn


def test_equal_documents_stand_on_one_side(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", [f"{number % 40}" for number in range(400)])
    texts = documents(prepare([str(tmp_path / "x.jsonl")], tmp_path / "d", Recipe("byte")))
    assert not set(texts["train"]) & set(texts["val"]) and len(texts["train"] + texts["val"]) == 400


def test_by_position_whole_documents_are_held_out(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", [f"{number:02d}" for number in range(50)])
    recipe = Recipe(tokenizer="byte", split="position", val_fraction=0.2)
    data = prepare([str(tmp_path / "x.jsonl")], tmp_path / "d", recipe)
    assert documents(data)["val"] == [f"{number}" for number in range(40, 50)]


def test_too_few_documents_to_draw_lots_hold_out_the_last(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", ["one", "two", "three"])
    said = []
    data = prepare([str(tmp_path / "x.jsonl")], tmp_path / "d", Recipe("byte"), say=said.append)
    assert documents(data) == {"train": ["one", "two"], "val": ["three"]}
    assert "too few to draw lots" in said[0]
    with pytest.raises(DataError, match="--split position"):
        prepare([str(tmp_path / "x.jsonl")], tmp_path / "e", Recipe("byte", split="document"))


def test_given_files_are_validation_and_nothing_stands_in_both(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", ["a", "b", "c", "d"])
    write_jsonl(tmp_path / "v.jsonl", ["c", "e"])
    said = []
    recipe = Recipe(tokenizer="byte", val=(str(tmp_path / "v.jsonl"),))
    data = prepare([str(tmp_path / "x.jsonl")], tmp_path / "d", recipe, say=said.append)
    assert documents(data) == {"train": ["a", "b", "d"], "val": ["c", "e"]}
    assert said == ["1 training documents left out that validation holds too"]


def test_two_single_texts_are_two_streams_without_separators(tmp_path):
    (tmp_path / "t.txt").write_text("training text")
    (tmp_path / "v.txt").write_text("validation")
    recipe = Recipe(tokenizer="char", val=(str(tmp_path / "v.txt"),))
    data = prepare([str(tmp_path / "t.txt")], tmp_path / "d", recipe)
    assert data.separator is None and documents(data) == {
        "train": ["training text"], "val": ["validation"],
    }  # fmt: skip


def test_a_tokenizer_without_an_end_cannot_part_documents(mixed, tmp_path):
    with pytest.raises(DataError, match="30 documents need an end-of-text token"):
        prepare([str(mixed)], tmp_path / "d", Recipe(), tokenizer=CharTokenizer("ab"))


DIRTY = "\ufeffﬁne “quotes”, it’s  wide \t \n\n\n\n\ne\u0301nd\x07\x0cA\u030a  \n"
GUTENBERG = (
    "The Project Gutenberg eBook of X\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n\n"
    "Chapter 1\ntext\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nlicence " + "word " * 50
)


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ((), "ﬁne “quotes”, it’s  wide \t \n\n\n\n\ne\u0301nd\x07\x0cA\u030a  \n"),
        (("nfc",), "ﬁne “quotes”, it’s  wide \t \n\n\n\n\nénd\x07\x0cÅ  \n"),
        (("quotes",), 'ﬁne "quotes", it\'s  wide \t \n\n\n\n\ne\u0301nd\x07\x0cA\u030a  \n'),
        (("controls",), "ﬁne “quotes”, it’s  wide \t \n\n\n\n\ne\u0301nd\nA\u030a  \n"),
        (("blanks",), "ﬁne “quotes”, it’s wide\n\ne\u0301nd\x07\x0cA\u030a\n"),
    ],
)
def test_cleaning_does_what_is_asked_and_no_more(rules, wanted, tmp_path):
    (tmp_path / "x.txt").write_text(DIRTY, encoding="utf-8", newline="")
    data = prepare([str(tmp_path / "x.txt")], tmp_path / "d", Recipe("byte", rules=rules))
    assert "".join(documents(data)["train"] + documents(data)["val"]) == wanted
    assert list(data.manifest["cleaning"]) == list(rules)
    for report in data.manifest["cleaning"].values():
        assert report["documents"] == 1 and report["characters"] > 0
        before, after = report["example"]
        assert before != after and before in DIRTY[1:]


def test_gutenbergs_boilerplate_goes(tmp_path, monkeypatch):
    (tmp_path / "x.txt").write_text(GUTENBERG, encoding="utf-8")
    for size in (1 << 20, 150):  # also where the licence comes in a later piece
        monkeypatch.setattr(pieces, "PIECE_CHARACTERS", size)
        recipe = Recipe("byte", rules=("gutenberg",), val_fraction=0.01)
        data = prepare([str(tmp_path / "x.txt")], tmp_path / str(size), recipe)
        assert "".join(everything(data)[::-1]) == "Chapter 1\ntext\n"
        kept = len("Chapter 1\ntext\n")
        report = data.manifest["cleaning"]["gutenberg"]
        assert report["characters"] == len(GUTENBERG) - kept


def test_duplicates_and_short_documents_are_left_out_and_counted(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", ["long enough", "short", "long enough", "", "other text"] * 3)
    said = []
    recipe = Recipe("byte", rules=("duplicates",), min_length=6)
    data = prepare([str(tmp_path / "x.jsonl")], tmp_path / "d", recipe, say=said.append)
    assert everything(data) == ["long enough", "other text"]
    report = data.manifest["cleaning"]
    assert report["duplicates"]["documents"] == 7
    assert report["min-length"] == {
        "documents": 3, "characters": 15,
        "example": [f"5 characters of {tmp_path / 'x.jsonl'}", ""],
    }  # fmt: skip
    assert "3 empty documents left out" in said


def snapshot(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_call_again_does_nothing(mixed, tmp_path):
    recipe = Recipe(tokenizer="bpe:300")
    prepare([str(mixed)], tmp_path / "d", recipe)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "d").iterdir()}
    said = []
    prepare([str(mixed)], tmp_path / "d", recipe, say=said.append)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "d").iterdir()}
    assert "nothing to do" in said[-1]
    (mixed / "0.txt").write_text("changed")
    assert "changed" in everything(prepare([str(mixed)], tmp_path / "d", recipe))
    prepare([str(mixed)], tmp_path / "d", Recipe(tokenizer="byte"))
    assert open_dataset(tmp_path / "d").tokenizer.vocab_size == 257


class Killed(BaseException):
    pass


@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")])
@pytest.mark.parametrize(
    "place",
    [
        "preparation.files.replace_file",
        "preparation.files.put_in_place",
        "writing.ShardWriter.close",
    ],
)
def test_what_is_interrupted_while_it_is_finished_is_finished(
    place, error, mixed, tmp_path, monkeypatch
):
    """Every write of the last stage fails once; what follows is what would have been."""
    recipe = Recipe("byte", shard_tokens=300)
    prepare([str(mixed)], tmp_path / "whole", recipe)
    module, name = place.split(".", 1)
    where = f"minigpt2.data.{module}.{name}"
    for fatal in range(12):
        calls = 0

        def failing(*arguments, real, fatal=fatal):
            nonlocal calls
            calls += 1
            if calls == fatal + 1:
                raise error if isinstance(error, Killed) else StorageError("full")
            return real(*arguments)

        with monkeypatch.context() as patch:
            real = pkgutil.resolve_name(f"minigpt2.data.{module}:{name}")
            patch.setattr(where, lambda *a, real=real: failing(*a, real=real))
            with contextlib.suppress(Killed, StorageError):
                prepare([str(mixed)], tmp_path / "d", recipe)
        prepare([str(mixed)], tmp_path / "d", recipe)
        assert snapshot(tmp_path / "d") == snapshot(tmp_path / "whole")
        shutil.rmtree(tmp_path / "d")


def interrupted(inputs, out, recipe, after):
    def dying(stage, done, total):
        if stage == "encoding" and done > after:
            raise Killed

    with pytest.raises(Killed):
        prepare(inputs, out, recipe, progress=dying)


@pytest.mark.parametrize("harm", ["flip", "cut", "lost", "index", "survey"])
def test_a_damaged_remainder_is_not_taken_up(harm, tmp_path, monkeypatch):
    monkeypatch.setattr("minigpt2.data.writing.PIECE_CHARACTERS", 700)
    write_jsonl(tmp_path / "x.jsonl", [f"{n} is a number " * 3 for n in range(900)])
    inputs, recipe = [str(tmp_path / "x.jsonl")], Recipe("byte", shard_tokens=5000)
    prepare(inputs, tmp_path / "whole", recipe)
    interrupted(inputs, tmp_path / "d", recipe, 30_000)
    [path] = tmp_path.glob(".d.partial/train-00001.bin")
    if harm == "flip":
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-2])
    if harm == "lost":
        path.unlink()
    if harm == "index":
        (path.parent / "train-documents.bin").unlink()
    if harm == "survey":  # as of an earlier version, killed in its survey
        left = files.read_sealed(path.with_name("progress.json"))
        path.with_name("progress.json").write_bytes(files.sealed({**left, "survey": None}))
    said = []
    prepare(inputs, tmp_path / "d", recipe, say=said.append)
    assert said == [] and snapshot(tmp_path / "d") == snapshot(tmp_path / "whole")


def test_what_is_no_longer_whole_is_made_again(mixed, tmp_path):
    recipe = Recipe("byte")
    whole = snapshot(prepare([str(mixed)], tmp_path / "d", recipe).folder)
    (tmp_path / "d" / "train-00000.bin").unlink()
    prepare([str(mixed)], tmp_path / "d", recipe)
    assert snapshot(tmp_path / "d") == whole


def test_another_tokenizer_is_another_request(tmp_path):
    (tmp_path / "x.txt").write_text("abcabc" * 30)
    source = [str(tmp_path / "x.txt")]
    prepare(source, tmp_path / "d", Recipe("bpe:300"), tokenizer=CharTokenizer("abc"))
    assert prepare(source, tmp_path / "d", Recipe("bpe:300")).manifest["vocab_size"] > 256
    for name in ("characters", "byte-run"):
        folder = tmp_path / name
        for letters in ("abc", "abcd"):
            prepare(source, folder, Recipe("byte"), tokenizer=CharTokenizer(letters))
            data = prepare(source, tmp_path / "e", Recipe(str(folder)))
            assert data.manifest["vocab_size"] == len(letters)


def test_text_that_changes_while_it_is_read_is_told(tmp_path):
    path = tmp_path / "x.jsonl"
    for change in (["more"] * 9, []):
        write_jsonl(path, ["one text", "another text", "a third"])

        def changing(stage, done, total, change=change):
            if stage == "counting words":  # another file takes the name of the one being read
                write_jsonl(path.with_suffix(".new"), change)
                path.with_suffix(".new").replace(path)

        with pytest.raises(DataError, match="changed while it was read"):
            prepare([str(path)], tmp_path / "d", Recipe("bpe:280"), progress=changing)


def test_nothing_to_train_on_is_told(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", ["a text"])
    path = str(tmp_path / "x.jsonl")
    for recipe in (Recipe("byte", val=(path,)), Recipe("byte", val_fraction=0.99)):
        with pytest.raises(DataError, match=r"nothing is left to train on|no text yet"):
            prepare([path], tmp_path / "d", recipe)
    (tmp_path / "q.jsonl").write_text('{"prompt": "one question", "answer": "one answer"}')
    with pytest.raises(DataError, match="one prompt with its answer cannot be split"):
        prepare([str(tmp_path / "q.jsonl")], tmp_path / "d", Recipe("byte"))
    with pytest.raises(DataError, match=r"\(1 documents by min-length\)"):
        prepare([path], tmp_path / "d", Recipe("byte", min_length=99))


def test_special_tokens_that_are_text_are_told(tmp_path):
    (tmp_path / "x.txt").write_text("the the the the hello " * 9)
    for special in ("the", "t"):
        with pytest.raises(ConfigError, match=r"token of the text already|two characters"):
            prepare(
                [str(tmp_path / "x.txt")], tmp_path / "d", Recipe("bpe:300", specials=(special,))
            )


def test_validation_files_without_a_document_are_told(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", ["a", "b"])
    (tmp_path / "v.jsonl").write_text("\n\n")
    recipe = Recipe("byte", val=(str(tmp_path / "v.jsonl"),))
    with pytest.raises(DataError, match="validation files hold no document"):
        prepare([str(tmp_path / "x.jsonl")], tmp_path / "d", recipe)


@settings(max_examples=200)
@given(
    st.text(st.sampled_from("ab \n\t\x01\x85\u00a0\u2003\ufeff“e\u0301"), max_size=60),
    st.integers(5, 30),
)
def test_cleaning_in_pieces_is_cleaning_the_whole(text, size):
    def cleaned(longest):
        with pytest.MonkeyPatch().context() as patch:
            patch.setattr(pieces, "PIECE_CHARACTERS", longest)
            cut = list(pieces.as_pieces([text], "x"))
        edges = [(a.text[-1], b.text[0]) for a, b in itertools.pairwise(cut)]
        if not all(a.isprintable() and a != " " and b in " \n" for a, b in edges):
            return None  # a stretch without a place to cut was longer than a piece
        return "".join(piece.text for piece in Cleaner(tuple(RULES)).clean(cut))

    assert cleaned(size) in (None, cleaned(1000))


def test_the_command_offers_what_a_recipe_does(mixed, tmp_path, monkeypatch):
    """The same defaults, and the formats that there are."""
    parameters = inspect.signature(command).parameters
    for name in ("tokenizer", "split", "val_fraction", "min_length", "shard_tokens", "format"):
        assert parameters[name].default == getattr(Recipe(), name)
    assert set(get_args(parameters["format"].annotation)) == {"auto", *FORMATS.values()}


@pytest.mark.parametrize("recipe", [Recipe("bpe:400", shard_tokens=401),
                                    Recipe("gpt2", shard_tokens=5000)])  # fmt: skip
def test_what_is_interrupted_anywhere_is_finished_byte_for_byte(recipe, tmp_path, monkeypatch):
    for module in ("documents", "writing"):
        monkeypatch.setattr(f"minigpt2.data.{module}.PIECE_CHARACTERS", 700)
    write_jsonl(
        tmp_path / "x.jsonl", [f"{n} is a number, and so is {n * n}. " * 3 for n in range(400)]
    )
    (tmp_path / "long.txt").write_text(" ".join(map(str, range(9000))))
    inputs = [str(tmp_path / "x.jsonl"), str(tmp_path / "long.txt")]
    prepare(inputs, tmp_path / "whole", recipe)
    wanted = snapshot(tmp_path / "whole")
    assert len(wanted) > 10
    calls, kills, fatal = 0, 0, 10**9

    def dying(stage, done, total):
        nonlocal calls
        calls += 1
        if calls == fatal:
            raise Killed

    prepare(inputs, tmp_path / "d", recipe, progress=dying)
    rng, most = random.Random(1), calls
    for _ in range(25):
        if (tmp_path / "d").exists():
            assert snapshot(tmp_path / "d") == wanted
            shutil.rmtree(tmp_path / "d")
        calls, fatal = 0, rng.randint(1, most)
        try:
            prepare(inputs, tmp_path / "d", recipe, progress=dying)
        except Killed:
            kills += 1
    assert kills > 10
    prepare(inputs, tmp_path / "d", recipe)
    assert snapshot(tmp_path / "d") == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "long.txt", "whole", "x.jsonl"]


def test_going_on_encodes_only_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("minigpt2.data.documents.PIECE_CHARACTERS", 700)
    monkeypatch.setattr("minigpt2.data.writing.PIECE_CHARACTERS", 700)
    (tmp_path / "long.txt").write_text(" ".join(map(str, range(9000))))
    recipe, encoded = Recipe("byte", shard_tokens=10_000), []

    interrupted([str(tmp_path / "long.txt")], tmp_path / "d", recipe, 30_000)
    said = []
    prepare([str(tmp_path / "long.txt")], tmp_path / "d", recipe, say=said.append,
            progress=lambda stage, done, total: encoded.append((stage, done)))  # fmt: skip
    assert said == ["going on where an interrupted call stopped: 3 shards are done"]
    assert {stage for stage, _ in encoded} == {"encoding"}  # the survey and tokenizer were kept
    assert encoded[0][1] > 30_000


@pytest.mark.slow
def test_sigkill_at_random_moments_loses_nothing(tmp_path):
    """Twenty kills of the real command; what comes out is what an undisturbed call makes."""
    text = " ".join(f"{n} squared is {n * n}." for n in range(160_000))
    (tmp_path / "a.txt").write_text(text)
    write_jsonl(tmp_path / "b.jsonl", [text[i * 300 : i * 300 + 299] for i in range(8_000)])
    line = [sys.executable, "-m", "minigpt2", "prepare", "a.txt", "b.jsonl", "--tokenizer",
            "bpe:600", "--shard-tokens", "100000", "--out"]  # fmt: skip
    began = time.monotonic()
    subprocess.run([*line, "whole"], cwd=tmp_path, check=True, capture_output=True)
    seconds = time.monotonic() - began
    rng, kills = random.Random(7), 0
    while kills < 20:
        process = subprocess.Popen([*line, "d"], cwd=tmp_path, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            process.wait(timeout=rng.uniform(0.2, seconds * 0.7))
            for path in (tmp_path / "d").iterdir():  # it got through: begin anew
                path.unlink()
            (tmp_path / "d").rmdir()
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    result = subprocess.run([*line, "d"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert snapshot(tmp_path / "d") == snapshot(tmp_path / "whole"), result.stderr
    assert not list(tmp_path.glob(".d.*"))


def test_other_data_and_files_that_came_to_it_are_not_replaced(mixed, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(f"text of {name}")
    out = tmp_path / "d"
    prepare([str(tmp_path / "a" / "x.txt")], out, Recipe("byte"))
    with pytest.raises(UsageError, match=r"holds the data of .*a.x\.txt; choose another --out"):
        prepare([str(tmp_path / "b" / "x.txt")], out, Recipe("byte"))
    said = []
    prepare([str(tmp_path / "a" / "x.txt")], out, Recipe("char"), say=said.append)
    assert said == [f"{out} is made anew: the text or the options are others"]
    (out / "remarks.md").write_text("mine")
    with pytest.raises(UsageError, match="nothing in it is touched"):
        prepare([str(tmp_path / "a" / "x.txt")], out, Recipe("byte"))
    assert (out / "remarks.md").read_text() == "mine"


@pytest.mark.parametrize("presses", [1, 2, 3])
def test_ctrl_c_ends_the_command_and_its_children(presses, tmp_path):
    text = " ".join(f"{n} squared is {n * n}." for n in range(900_000))
    (tmp_path / "a.txt").write_text(text)
    line = [sys.executable, "-m", "minigpt2", "prepare", "a.txt", "--tokenizer", "bpe:600"]
    process = subprocess.Popen(
        line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    time.sleep(1.1)
    for _ in range(presses):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    _, err = process.communicate(timeout=30)  # all who hold the pipe are gone by then
    assert process.returncode in (130, -signal.SIGINT)
    assert (b"Traceback" not in err and b"Fatal" not in err) or presses > 1
    for _ in range(100):  # the last child goes a moment after its parent
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a child was left behind")


def test_what_others_wrote_is_not_replaced(mixed, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="nothing in it is touched"):
        prepare([str(mixed)], tmp_path / "d", Recipe("byte"))


def test_our_own_output_inside_the_folder_is_no_input(mixed, tmp_path):
    for _ in range(2):
        data = prepare([str(mixed)], mixed / "data" / "mine", Recipe("byte"))
        assert len(everything(data)) == 30


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        (Recipe(rules=("spelling",)), "no cleaning rule 'spelling'; there are gutenberg"),
        (Recipe(val_fraction=1.5), "between 0 and 1, not 1.5"),
        (Recipe(tokenizer="gpt2", specials=("<|user|>",)), "cannot join gpt2"),
        (Recipe(tokenizer="bpe:20"), "from 257"),
        (Recipe(tokenizer="nothing"), "none of char, byte"),
        (Recipe(shard_tokens=0), "shard_tokens must be at least 1"),
    ],
)
def test_recipes_that_cannot_be_meant(recipe, problem, mixed, tmp_path):
    with pytest.raises(ConfigError, match=problem):
        prepare([str(mixed)], tmp_path / "d", recipe)
    assert not list(tmp_path.glob(".d*"))


def test_special_tokens_join_the_vocabulary_and_are_found_in_text(tmp_path):
    (tmp_path / "x.txt").write_text("<|user|> hello <|user|> hello " * 20)
    for tokenizer in ("char", "byte", "bpe:280"):
        recipe = Recipe(tokenizer, specials=("<|user|>",))
        data = prepare([str(tmp_path / "x.txt")], tmp_path / tokenizer.replace(":", ""), recipe)
        special = data.tokenizer.specials["<|user|>"]
        assert special == data.manifest["vocab_size"] - 1
        assert (data.all.read(0, len(data.all)) == special).sum() == 40
        assert data.tokenizer.eos_id not in data.all.read(0, len(data.all))


def test_statistics_are_those_of_the_text(mixed, tmp_path):
    data = prepare([str(mixed)], tmp_path / "d", Recipe(tokenizer="char"))
    found, texts = describe(data), documents(data)
    for split, stream in (("train", data.train), ("val", data.val)):
        facts = found["splits"][split]
        assert facts["words"] == sum(len(text.split()) for text in texts[split])
        assert facts["documents"] == len(texts[split])
        assert facts["tokens"] == len(stream) == sum(len(text) + 1 for text in texts[split])
        assert facts["document_tokens"]["most"] == max(len(text) + 1 for text in texts[split])
        assert sum(facts["document_tokens"]["from_power_of_two"]) == len(texts[split])
    train, val = (stream.read(0, len(stream)).tolist() for stream in (data.train, data.val))
    counts = collections.Counter(train)
    assert [(e["id"], e["count"]) for e in found["most_frequent"][:1]] == counts.most_common(1)
    assert found["vocabulary"]["used_in_training"] == len(counts)
    unseen = [token for token in val if token not in counts]
    assert found["vocabulary"]["validation_tokens_unseen_in_training"] == len(unseen)
    size = data.manifest["vocab_size"]
    by_hand = -np.mean([np.log((counts[t] + 1) / (len(train) + size)) for t in val])
    assert found["unigram_loss"] == pytest.approx(by_hand)
    assert found["bigram_loss"] == bigram_loss(data.train, data.val, size) < found["unigram_loss"]
    assert unigram_loss(np.ones(3), np.zeros(3)) is None


def test_the_command_prepares_describes_and_verifies(mixed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("mixed", tokenizer="bpe:300", clean="all", stats=True, verify=True) == 0
    out, err = capsys.readouterr()
    assert "most frequent" in out and "to beat" in out and "every block is intact" in err
    assert "minigpt2 train data/mixed" in err
    folder = Path("data/mixed")
    assert (folder / "statistics.png").stat().st_size > 10_000
    assert read_sealed(folder / "manifest.json")["statistics"]["vocabulary"]["size"] <= 300
    assert command("mixed", tokenizer="bpe:300", clean="all") == 0  # statistics do not unmake it
    assert "nothing to do" in capsys.readouterr().err
    path = folder / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DataError, match=r"train-00000\.bin: the block at offset 64"):
        command(str(folder), verify=True)


def test_standard_input_is_read_twice(tmp_path):
    line = [sys.executable, "-m", "minigpt2", "prepare", "-", "--tokenizer", "char"]
    for _ in range(2):
        result = subprocess.run(line, input="a text from a pipe\n" * 9, cwd=tmp_path,
                                capture_output=True, text=True, check=True)  # fmt: skip
    assert "nothing to do" in result.stderr
    data = open_dataset(tmp_path / "data" / "stdin")
    assert data.manifest["splits"]["train"]["characters"] == 153
