"""The zoo: whatever people hand in works exactly, or gets one line with file, place and remedy."""

import gzip
import json
import lzma
import os
import subprocess
import sys
import threading

import pyarrow
import pyarrow.parquet
import pytest

from minigpt2.data import Recipe, prepare, read_text, records
from minigpt2.errors import DataError, InputMissingError, MiniGPT2Error, UnavailableError

ROOT_READS_ALL = os.name == "nt" or os.geteuid() == 0


def text_of(path, tmp_path, **recipe):
    """Prepare a file with the byte tokenizer; return its text as it came out."""
    data = prepare([str(path)], tmp_path / "out", Recipe("byte", **recipe))
    ids = data.all.read(0, len(data.all)).tolist()
    return data.tokenizer.decode([token for token in ids if token != data.separator])


WORKS = {
    "two characters": (b"ab", "ab"),
    "windows line ends": (b"a\r\nb\r\n", "a\nb\n"),
    "old mac line ends": (b"a\rb\rc", "a\nb\nc"),
    "byte order mark": (b"\xef\xbb\xbfab", "ab"),
    "line separator": ("a\u2028b\u2029c\x85d".encode(), "a\u2028b\u2029c\x85d"),
    "emoji": ("😀👩‍👩‍👧\U0010ffff".encode(), "😀👩‍👩‍👧\U0010ffff"),
    "a special token": (b"a <|endoftext|> b", "a <|endoftext|> b"),
    "control characters": (b"a\x01\x1b[31m\x7f", "a\x01\x1b[31m\x7f"),
    "only white space": (b" \n\t \n", " \n\t \n"),
}


@pytest.mark.parametrize("kind", WORKS)
def test_odd_text_is_text(kind, tmp_path):
    content, wanted = WORKS[kind]
    (tmp_path / "x.txt").write_bytes(content)
    assert text_of(tmp_path / "x.txt", tmp_path) == wanted


@pytest.mark.parametrize("content", ["a\r\nb\r", "\r", "ab😀c\r\n\r\n", "\ufeffa\r"])
def test_what_a_block_cuts_apart_is_put_together(content, tmp_path, monkeypatch):
    """Line ends, characters and the byte order mark may fall between two blocks."""
    (tmp_path / "x.txt").write_bytes(b"123456" + content.encode())
    wanted = "123456" + content.replace("\r\n", "\n").replace("\r", "\n")
    for size in range(1, 9):
        monkeypatch.setattr("minigpt2.data.readers._BLOCK_BYTES", size + 2)
        assert read_text(str(tmp_path / "x.txt")) == wanted


REFUSED = {
    "empty": (b"", "holds 0 characters in all"),
    "one character": (b"x", "holds 1 characters in all"),
    "zero bytes": (b"ab\0cd", "binary, not text: a zero byte at offset 2"),
    "marked zero": (b"\xef\xbb\xbfab\0", "a zero byte at offset 5"),
    "binary": (bytes(range(256)) * 4, "binary, not text: a zero byte at offset 0"),
    "utf-16": ("text".encode("utf-16"), "is UTF-16, not UTF-8; convert it: iconv"),
    "latin": (b"caf\xe9 noir", "0xe9 at offset 3.*LATIN1"),
    "windows": (b"\x93quoted\x94", "0x93 at offset 0.*CP1252"),
    "marked latin": (b"\xef\xbb\xbfcaf\xe9", "0xe9 at offset 6"),
    "cut character": ("caf\u00e9".encode()[:-1], "0xc3 at offset 3"),
    "a surrogate": (b"a\xed\xa0\xbdb", "0xed at offset 1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_text_is_told_with_its_place(kind, tmp_path):
    content, message = REFUSED[kind]
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        text_of(tmp_path / "x.txt", tmp_path)
    if "characters in all" not in message:
        assert str(tmp_path / "x.txt") in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.txt"]


def test_offsets_far_in_are_exact(tmp_path):
    place = (3 << 20) + 17
    (tmp_path / "x.txt").write_bytes(b"a" * place + b"\xff" + b"a" * 99)
    with pytest.raises(DataError, match=f"0xff at offset {place};"):
        text_of(tmp_path / "x.txt", tmp_path)


LINES = [json.dumps({"text": f"line {number}"}) for number in range(1, 31)]
BAD_LINES = {
    "no json": ("{nonsense", "line 7 is not JSON"),
    "no object": ("[1, 2]", "line 7 holds no JSON object"),
    "no field": ('{"body": "x"}{', "line 7 is not JSON"),
    "lacking": ('{"body": "x", "id": 2}', "line 7 has no field 'text'; it has body, id"),
    "null": ('{"text": null}', "line 7: the text is null"),
    "number": ('{"text": 7}', "line 7: '7' is no text"),
    "lone surrogate": ('{"text": "a\\ud83d"}', r"line 7: .* half a pair \(U\+D83D\)"),
    "deep": ("[" * 100_000, "line 7 is not JSON"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_one_bad_line_is_named_or_left_out_and_counted(kind, tmp_path):
    line, message = BAD_LINES[kind]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join([*LINES[:6], line, *LINES[6:]]), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        text_of(path, tmp_path)
    assert "--skip-bad" in str(caught.value)
    said = []
    recipe = Recipe("byte", skip_bad=True)
    data = prepare([str(path)], tmp_path / "out", recipe, say=said.append)
    assert said == ["1 bad records left out"]
    assert sum(split["documents"] for split in data.manifest["splits"].values()) == 30


def test_bytes_that_are_no_text_in_a_line_or_row(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    with pytest.raises(DataError, match="line 2: not UTF-8 at byte 10"):
        text_of(tmp_path / "x.jsonl", tmp_path)
    (tmp_path / "x.csv").write_bytes(b"text\na\nb\n\xe9\n")
    with pytest.raises(DataError, match=r"line 4: .* byte 0xe9"):
        text_of(tmp_path / "x.csv", tmp_path)
    assert sorted(text_of(tmp_path / "x.csv", tmp_path, skip_bad=True)) == ["a", "b"]


def test_blank_lines_unicode_line_ends_and_marks_in_jsonl(tmp_path):
    content = '\ufeff{"text": "a\u2028b"}\n\n{"text": "c\\r\\nd"}\r\n{"text": "e\\u0000"}'
    (tmp_path / "x.jsonl").write_text(content, encoding="utf-8", newline="")
    assert sorted(text_of(tmp_path / "x.jsonl", tmp_path)) == sorted("a\u2028bc\nde\0")


def test_an_object_without_a_text_is_never_taken_for_one(tmp_path):
    (tmp_path / "x.jsonl").write_text(LINES[0] + '\n{"error": "time out"}\n')
    with pytest.raises(DataError, match="line 2 has no field 'text'; it has error"):
        text_of(tmp_path / "x.jsonl", tmp_path)


def test_empty_files_among_others_are_left_out_and_counted(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a.txt", "b.md", "C.TXT.GZ"):
        content = b"" if name == "b.md" else name.encode()
        (folder / name).write_bytes(gzip.compress(content) if "GZ" in name else content)
    (folder / "config.yaml").write_text("mine")
    (folder / "weights.bin").write_bytes(b"mine too")
    said = []
    data = prepare([str(folder)], tmp_path / "o", Recipe("byte"), say=said.append)
    assert sum(split["documents"] for split in data.manifest["splits"].values()) == 2
    assert said[1:2] == ["1 empty documents left out"]


def test_a_table_without_the_field(tmp_path):
    (tmp_path / "x.csv").write_text("id,body\n1,hello\n")
    with pytest.raises(
        DataError, match=r"no field 'text'; it has id, body: choose with .* --field"
    ):
        text_of(tmp_path / "x.csv", tmp_path)
    assert text_of(tmp_path / "x.csv", tmp_path, field="body") == "hello"
    with pytest.raises(DataError, match="no field 'boody'"):
        text_of(tmp_path / "x.csv", tmp_path, field="boody")
    (tmp_path / "one.csv").write_text("body\nhello\n")
    with pytest.raises(DataError, match="no field 'text'; it has body"):
        text_of(tmp_path / "one.csv", tmp_path / "one")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_separate_by_what_their_header_shows(separator, tmp_path):
    (tmp_path / "x.csv").write_text(f'id{separator}text\n1{separator}"a{separator} b, c; d"\n')
    assert text_of(tmp_path / "x.csv", tmp_path) == f"a{separator} b, c; d"


def test_tables_that_cannot_be_meant(tmp_path):
    bad = {
        "a.csv": ("text,text\n1,2\n", "has two columns 'text'"),
        "b.csv": ('text\na\n"b\nc\n', "line 4: unexpected end of data"),
        "c.csv": ("text\n", "holds 0 characters in all; that is no text"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=message):
            text_of(tmp_path / name, tmp_path / name[0])
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(DataError, match="has two columns 'text'"):
        text_of(tmp_path / "d.parquet", tmp_path / "d")


def test_rows_that_are_too_short_and_fields_with_line_ends(tmp_path):
    (tmp_path / "x.csv").write_text('id,text\n1,"two\nlines, ""quoted"""\n2\n3,end\n')
    with pytest.raises(DataError, match="line 4: 1 fields, where the header has 2"):
        text_of(tmp_path / "x.csv", tmp_path)
    wanted = sorted('two\nlines, "quoted"end')
    assert sorted(text_of(tmp_path / "x.csv", tmp_path, skip_bad=True)) == wanted


def test_parquet_with_nulls_other_types_and_other_columns(tmp_path):
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", None, "b"]}), path)
    with pytest.raises(DataError, match=r"x\.parquet, row 2: the text is null; .* --skip-bad"):
        text_of(path, tmp_path)
    assert sorted(text_of(path, tmp_path, skip_bad=True)) == ["a", "b"]
    pyarrow.parquet.write_table(pyarrow.table({"text": [1, 2]}), path)
    with pytest.raises(DataError, match="row 1: '1' is no text"):
        text_of(path, tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"id": ["1"], "body": ["ab"]}), path)
    with pytest.raises(DataError, match="no field 'text'; it has id, body"):
        text_of(path, tmp_path)
    assert text_of(path, tmp_path, field="body") == "ab"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="no whole parquet file"):
        text_of(path, tmp_path)


def damaged(raw):
    middle = bytearray(raw)
    middle[len(raw) // 2] ^= 0xFF
    return {"cut": raw[: len(raw) // 2], "flipped": bytes(middle), "foreign": b"plain text" * 9}


PLAIN = "".join(f"{number} " for number in range(9000)).encode()


@pytest.mark.parametrize("harm", ["cut", "flipped", "foreign"])
@pytest.mark.parametrize("ending", [".gz", ".xz", ".bz2", ".zst"])
def test_a_damaged_archive_is_told(ending, harm, tmp_path):
    if (ending, harm) == (".zst", "flipped"):
        pytest.skip("zstd as pyarrow writes it has no checksum")
    path = tmp_path / f"x.txt{ending}"
    import bz2

    packed = {
        ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
        ".zst": lambda raw: pyarrow.compress(raw, "zstd", asbytes=True),
    }[ending](PLAIN)  # fmt: skip
    path.write_bytes(damaged(packed)[harm])
    with pytest.raises(DataError, match="damaged or cut short") as caught:
        text_of(path, tmp_path)
    assert str(path) in str(caught.value)
    path.write_bytes(packed)
    assert text_of(path, tmp_path) == PLAIN.decode()


def test_a_named_pipe_is_read_and_in_a_folder_passed_over(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("the system has no named pipes")
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "pipe.txt")
    (folder / "x.txt").write_text("some text")
    assert text_of(folder, tmp_path) == "some text"
    writer = threading.Thread(target=lambda: (folder / "pipe.txt").write_text("from a pipe"))
    writer.start()
    (tmp_path / "more").mkdir()
    assert text_of(folder / "pipe.txt", tmp_path / "more") == "from a pipe"
    writer.join()


def test_links_in_a_circle_end(tmp_path):
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "x.txt").write_text("one text")
    try:
        (folder / "a" / "back").symlink_to(folder, target_is_directory=True)
        (folder / "again.txt").symlink_to(folder / "a" / "x.txt")
        (folder / "lost.txt").symlink_to(folder / "nowhere.txt")
    except OSError:
        pytest.skip("the system has no links")
    assert text_of(folder, tmp_path) == "one text"


@pytest.mark.skipif(ROOT_READS_ALL, reason="root reads everything")
def test_an_unreadable_file_is_told(tmp_path):
    (tmp_path / "x.txt").write_text("a")
    (tmp_path / "x.txt").chmod(0)
    with pytest.raises(InputMissingError, match=r"x\.txt cannot be read: Permission"):
        text_of(tmp_path / "x.txt", tmp_path)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(InputMissingError, match="did you mean shakespeare"):
        text_of("shakespear", tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.pdf").write_bytes(b"")
    with pytest.raises(InputMissingError, match=r"holds no text: looked for \.txt"):
        text_of(tmp_path / "folder", tmp_path)
    with pytest.raises(InputMissingError, match="no file, folder or data set"):
        text_of(tmp_path / "*.txt", tmp_path)
    with pytest.raises(DataError, match="device"):
        text_of("/dev/null", tmp_path)


def test_globs_find_files_once(tmp_path):
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).write_text(f"text of {name}")
    inputs = [str(tmp_path / "*.txt"), str(tmp_path / "a.txt"), str(tmp_path / "**" / "*.txt")]
    data = prepare(inputs, tmp_path / "out", Recipe("byte"))
    assert sum(split["documents"] for split in data.manifest["splits"].values()) == 2


def test_a_file_that_is_no_text_among_others_is_left_out_if_asked(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"text {number}")
    (folder / "2.txt").write_bytes(b"caf\xe9" * 9)
    with pytest.raises(DataError, match=r"2\.txt is not UTF-8"):
        text_of(folder, tmp_path)
    said = []
    data = prepare([str(folder)], tmp_path / "o", Recipe("byte", skip_bad=True), say=said.append)
    assert "1 files that are no UTF-8 text left out" in said
    assert sum(split["documents"] for split in data.manifest["splits"].values()) == 4


def test_without_the_extra_one_line_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("x.parquet", "x.txt.zst"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UnavailableError, match=r'pip install "minigpt2\[data\]"'):
            text_of(tmp_path / name, tmp_path)


def test_a_record_longer_than_memory_should_hold_is_bad(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LONGEST_RECORD", 1000)
    long = json.dumps({"text": "x" * 5000})
    (tmp_path / "x.jsonl").write_text(f"{LINES[0]}\n{long}\n{LINES[1]}\n")
    with pytest.raises(DataError, match="line 2: longer than"):
        text_of(tmp_path / "x.jsonl", tmp_path)
    assert sorted(text_of(tmp_path / "x.jsonl", tmp_path, skip_bad=True)) == sorted("line 1line 2")
    (tmp_path / "x.csv").write_text("text\n" + "x" * 5000)
    with pytest.raises(DataError, match="line 2 is longer than"):
        text_of(tmp_path / "x.csv", tmp_path / "csv")


GIGABYTE = 1 << 30
WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
HUGE = {
    "one line of 1 GB": ("x.txt", b"abcdefgh" * 8192, GIGABYTE, "byte"),
    "one word of 100 MB": ("x.txt", b"abcdefgh" * 8192, GIGABYTE // 10, "gpt2"),
    "100 MB of blanks": ("x.txt", b" " * 65536, GIGABYTE // 10, "gpt2"),
    "an archive of 1 GB": ("x.txt.gz", b"word " * 13107, GIGABYTE, "byte"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HUGE)
def test_memory_stays_bounded(kind, tmp_path):
    """A gigabyte without a line end, and an archive that expands a thousandfold."""
    name, block, size, tokenizer = HUGE[kind]
    opener = gzip.open if name.endswith(".gz") else open
    with opener(tmp_path / name, "wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    if name.endswith(".gz"):
        assert (tmp_path / name).stat().st_size < size / 500
    line = [sys.executable, "-m", "minigpt2", "prepare", name, "--tokenizer", tokenizer]
    # A new process inherits its parent's peak until it runs; the one in between is small.
    watch = [sys.executable, "-c", WATCH, *line, "--out", "d", "--verify"]
    answer = subprocess.run(watch, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert int(answer.stdout) < 300_000, f"{answer.stdout} kB"


def test_every_failure_is_one_of_ours(tmp_path):
    """Bytes at random, under every ending: text, or a line for the user, never a traceback."""
    import random

    rng = random.Random(3)
    endings = ["txt", "jsonl", "csv", "tsv", "parquet", "txt.gz", "jsonl.xz", "csv.bz2", "txt.zst"]
    for number in range(180):
        kind = endings[number % len(endings)]
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(
            bytes(rng.choices(b'{"text": a,}\n\r\t\xe9\xff\x00x;', k=rng.randint(0, 60)))
        )
        try:
            text_of(path, tmp_path, skip_bad=number % 2 == 0)
        except MiniGPT2Error as error:
            assert "\n" not in str(error)
