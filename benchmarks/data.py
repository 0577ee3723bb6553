"""Measure the data room: encoding, a large text, learning merges, opening, forming batches.

    python benchmarks/data.py [--folder WHERE] [--small] [encode whole large merges open batches]

Prints a table for each part; `large` writes 2 GB of text and 1 GB of shards into the folder.
Runs that are compared are interleaved, and the median of the repeats is shown with their range.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MERGES_BYTES, LARGE_BYTES, REPEATS = 100_000_000, 2_000_000_000, 5


def encode(folder):
    """tiktoken on one thread, and prepare's own encoder over all cores, on the same pieces."""
    from concurrent.futures import ThreadPoolExecutor
    from functools import partial

    from minigpt2.concurrency import available_cores, map_in_order
    from minigpt2.data import read_text
    from minigpt2.data.documents import as_pieces
    from minigpt2.data.writing import encode, jobs
    from minigpt2.tokenizers import gpt2_tokenizer

    cores, tokenizer = available_cores(), gpt2_tokenizer()
    for name, text in (("plays", read_text("shakespeare") * 20), ("code", python_code(25_000_000))):
        megabytes = len(text.encode()) / 1e6
        pieces = list(as_pieces([text], name))

        def theirs(pieces=pieces):
            for piece in pieces:
                tokenizer._encoding.encode_ordinary(piece.text)

        def ours(pieces=pieces):
            with ThreadPoolExecutor(cores) as pool:
                work = jobs(("train", piece) for piece in pieces)
                for _ in map_in_order(pool, partial(encode, tokenizer, None), work, 2 * cores):
                    pass

        single, together = interleaved(theirs, ours)
        alone, all_cores = ([megabytes / s for s in times] for times in (single, together))
        ratio = statistics.median(all_cores) / cores / statistics.median(alone)
        row(
            "encode",
            name,
            f"tiktoken, one thread: {spread(alone)} MB/s",
            f"{cores} cores: {spread(all_cores)} MB/s",
            f"a core: {ratio:.2f} of tiktoken",
        )


def whole(folder):
    """The whole of prepare on 300 MB, beside tiktoken on one thread over 60 MB of the same."""
    import shutil

    from minigpt2.concurrency import available_cores
    from minigpt2.data import Recipe, prepare
    from minigpt2.data.documents import as_pieces
    from minigpt2.tokenizers import gpt2_tokenizer

    (folder / "text.txt").write_text(plays(300_000_000), encoding="utf-8")
    encoding = gpt2_tokenizer()._encoding
    pieces = list(as_pieces([plays(60_000_000)], "plays"))
    size, part = (folder / "text.txt").stat().st_size / 1e6, sum(len(p.text) for p in pieces) / 1e6

    def theirs():
        for piece in pieces:
            encoding.encode_ordinary(piece.text)

    def ours():
        shutil.rmtree(folder / "whole", ignore_errors=True)
        prepare([str(folder / "text.txt")], folder / "whole", Recipe("gpt2"))

    single, together = interleaved(theirs, ours)
    alone, all_of_it = [part / s for s in single], [size / s for s in together]
    ratio = statistics.median(all_of_it) / available_cores() / statistics.median(alone)
    row(
        "prepare 300 MB",
        f"tiktoken, one thread: {spread(alone)} MB/s",
        f"prepare: {spread(all_of_it)} MB/s",
        f"a core: {ratio:.2f} of tiktoken",
    )


def large(folder):
    """2 GB of text through the command, as its own process: time, memory, then nothing to do."""
    from minigpt2.data import read_text

    block = read_text("shakespeare").encode()
    path = folder / "large.txt"
    with path.open("wb") as file:
        for _ in range(LARGE_BYTES // len(block)):
            file.write(block)
    line = [sys.executable, "-m", "minigpt2", "prepare", str(path), "--out", str(folder / "large")]
    for tokenizer in ("gpt2", "gpt2", "bpe:8192"):
        seconds, peak = run([*line, "--tokenizer", tokenizer])
        row(
            "2 GB",
            tokenizer,
            f"{seconds:.1f} s",
            f"{path.stat().st_size / 1e6 / seconds:.1f} MB/s",
            f"peak {peak:.0f} MB a process",
        )


def merges(folder):
    """8,192 tokens from 100 MB of Python sources, by us on all cores and by `tokenizers`."""
    import tokenizers
    from minigpt2.concurrency import available_cores
    from minigpt2.tokenizers import make_tokenizer

    for name, text in (("code", python_code(MERGES_BYTES)), ("plays", plays(MERGES_BYTES))):
        texts = [text[i : i + (1 << 20)] for i in range(0, len(text), 1 << 20)]
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            made = make_tokenizer("bpe:8192", texts, processes=available_cores())
            seconds.append(time.perf_counter() - start)
        theirs = []
        for _ in range(3):
            cutter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
            library = tokenizers.Tokenizer(tokenizers.models.BPE())
            library.pre_tokenizer = cutter
            trainer = tokenizers.trainers.BpeTrainer(
                vocab_size=8191,
                min_frequency=2,
                initial_alphabet=cutter.alphabet(),
                show_progress=False,
            )
            start = time.perf_counter()
            library.train_from_iterator(texts, trainer)
            theirs.append(time.perf_counter() - start)
        row(
            "merges",
            name,
            f"ours {spread(seconds)} s",
            f"tokenizers {spread(theirs)} s",
            f"{made.vocab_size} tokens",
        )


def open_sparse(folder):
    """A data set of 10 GB that holds nothing but headers: what opening costs."""
    import zlib

    from minigpt2 import files
    from minigpt2.data import shards
    from minigpt2.tokenizers import gpt2_tokenizer, tokenizer_files

    out, tokens = folder / "sparse", shards.SHARD_TOKENS
    out.mkdir()
    for name, content in tokenizer_files(gpt2_tokenizer(), 1024).items():
        (out / name).write_bytes(content)
    zeros = zlib.crc32(bytes(shards.BLOCK_BYTES))
    last = zlib.crc32(bytes(tokens * 2 % shards.BLOCK_BYTES))

    def write(name, width, vocab, count):
        with (out / name).open("wb") as file:
            file.write(shards.HEADER.pack(shards.MAGIC, shards.VERSION, width, vocab, count))
            file.truncate(shards.HEADER.size + count * width)
        crc = [zeros] * (count * width // shards.BLOCK_BYTES)
        return {
            "file": name,
            "tokens": count,
            "crc32": [*crc, last] if width == 2 else [zlib.crc32(bytes(16))],
        }

    def split(name, number):
        entries = [write(f"{name}-{i:05d}.bin", 2, 50257, tokens) for i in range(number)]
        total = number * tokens
        index = write(f"{name}-documents.bin", 8, total + 1, 2)
        return {
            "documents": 1,
            "characters": total,
            "bytes": total,
            "target_bytes": total - 1,
            "tokens": total,
            "shards": entries,
            "index": index,
        }

    manifest = {
        "format": "minigpt2-data",
        "version": shards.VERSION,
        "vocab_size": 50257,
        "tokenizer_sha256": files.sha256_of(out / "tokenizer.json"),
        "separated": False,
        "splits": {"train": split("train", 45), "val": split("val", 5)},
    }
    (out / "manifest.json").write_bytes(files.sealed(manifest))
    times = []
    for _ in range(20):
        start = time.perf_counter()
        data = shards.open_dataset(out)
        times.append(1000 * (time.perf_counter() - start))
    size = sum(path.stat().st_size for path in out.iterdir())
    start = time.perf_counter()
    data.train.read(4_000_000_000, 4_000_001_024)
    first = 1000 * (time.perf_counter() - start)
    row(
        "open",
        f"{size / 1e9:.1f} GB, 50 shards",
        f"{spread(times)} ms",
        f"first window {first:.1f} ms",
    )


def batches(folder):
    """How much faster batches are formed than the small presets consume them."""
    import torch

    from minigpt2.data import Recipe, prepare, read_text
    from minigpt2.data.batches import Batches
    from minigpt2.settings import resolve
    from minigpt2.training.begin import build_model
    from minigpt2.training.loop import accumulate
    from minigpt2.training.optimizers import build_optimizer
    from minigpt2.training.plan import apply_transforms, make_plan

    speeches = [part + "\n" for part in read_text("shakespeare").split("\n\n")]
    lines = [json.dumps({"text": speech}) + "\n" for speech in speeches]
    (folder / "speeches.jsonl").write_text("".join(lines), encoding="utf-8")
    for preset in ("bigram", "tiny-byte", "shakespeare-char", "shakespeare-bpe"):
        config = resolve(preset, None, {}).config
        recipe = Recipe(config.data.tokenizer)
        data = prepare(["shakespeare"], folder / f"{preset}-packed", recipe)
        parted = prepare([str(folder / "speeches.jsonl")], folder / f"{preset}-rows", recipe)
        size, length, seed = config.training.batch_size, config.sequence_length, 1
        plan = make_plan(config)
        model = build_model(config, data.tokenizer)
        apply_transforms(model, config, plan)
        optimizer = build_optimizer(model, config.training)
        forms = {
            "packed": Batches(data.train, size, length, seed),
            "documents": Batches(parted.train, size, length, seed, documents=True),
        }
        tokens, targets = forms["packed"].batch(0)

        def step(model=model, tokens=tokens, targets=targets, plan=plan, optimizer=optimizer):
            accumulate(model, tokens, targets, plan)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        step()
        stepping = [timed(step) for _ in range(30)]
        for form, source in forms.items():
            forming = []
            for block in range(10):
                start = time.perf_counter()
                for i in range(200):
                    source.batch(block * 200 + i)
                forming.append((time.perf_counter() - start) / 200)
            ratio = statistics.median(stepping) / statistics.median(forming)
            row(
                "batches",
                f"{preset}, {form}",
                f"step {statistics.median(stepping) * 1e3:.2f} ms",
                f"batch {statistics.median(forming) * 1e3:.3f} ms",
                f"{ratio:.0f} times",
            )


def python_code(size):
    """The sources of the installed packages, which no corpus of ours repeats."""
    parts, total = [], 0
    for path in sorted(Path(np.__file__).parents[1].rglob("*.py")):
        try:
            parts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        total += len(parts[-1])
        if total > size:
            break
    return "".join(parts)[:size]


def plays(size):
    from minigpt2.data import read_text

    text = read_text("shakespeare")
    return text * (size // len(text))


def interleaved(*functions):
    times = [[] for _ in functions]
    for _ in range(REPEATS):
        for function, taken in zip(functions, times, strict=True):
            taken.append(timed(function))
    return times


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# A new process inherits its parent's peak until it runs; this one in between is small.
_WATCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([time.perf_counter() - start, peak / 1000]))
"""


def run(line):
    """Return seconds of a command, and the peak megabytes of its largest process."""
    watch = [sys.executable, "-c", _WATCH, *line]
    answer = subprocess.run(watch, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout)


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


PARTS = {
    "encode": encode,
    "whole": whole,
    "large": large,
    "merges": merges,
    "open": open_sparse,
    "batches": batches,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="part")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--small", action="store_true", help="a hundredth of the text, once")
    given = parser.parse_args()
    if given.small:
        MERGES_BYTES, LARGE_BYTES, REPEATS = MERGES_BYTES // 100, LARGE_BYTES // 100, 1
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        for part in given.parts:
            PARTS[part](Path(scratch))
