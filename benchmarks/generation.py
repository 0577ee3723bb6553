"""How fast GPT-2 124M writes, beside transformers, llama.cpp and a loop without a cache.

    python benchmarks/generation.py [--small] [REPEATS] [ENGINE ...]

Random weights (speed does not depend on them), a prompt of 16 tokens, 128 new ones, greedy, no
stop. Each engine is a process of its own with two threads; they take turns within each round.
Figures are medians over the rounds with their range, ratios medians of the rounds' own ratios.
What is not installed is left out. `first` is
the time to the first token in a warm engine, `memory` the share of the memory's measured speed.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from minigpt2 import gpt2_tokenizer, save_pretrained
from minigpt2.__main__ import SPIN_ALONE
from minigpt2.generation import Engine, Request, Sampling, Token
from minigpt2.generation.speed import read_gbps
from minigpt2.interop.exports import export_gguf
from minigpt2.model import GPT2, GPT2Config, bytes_read, set_precision

SMALL = "--small" in sys.argv  # a shape and lengths that prove nothing but that it runs
PROMPT, NEW, STREAMS = list(range(464, 480)), (4 if SMALL else 128), (3 if SMALL else 32)
SHAPE = GPT2Config(50257, 64, 2, 2, 64) if SMALL else GPT2Config(50257)


def random_weights():
    torch.manual_seed(0)
    return GPT2(SHAPE).eval()


def ours(precision, rows=1):
    """Return a function that takes seconds for all tokens and for the first."""
    model = random_weights()
    set_precision(model, precision)

    def write():
        engine = Engine(model, rows, size=len(PROMPT) + NEW)
        start, first, tokens = time.perf_counter(), 0.0, 0
        for row in range(rows):  # no two prompts alike, so that nothing is read only once
            prompt = [1000 + row * 7, *PROMPT[1:]]
            engine.submit(Request(prompt, Sampling(NEW, temperature=0)))
        for event in engine.run():
            if isinstance(event, Token):
                tokens += 1
                first = first or time.perf_counter() - start
        assert tokens == rows * NEW
        return time.perf_counter() - start, first

    write.bytes = bytes_read(model)
    return write


def plain():
    """The usual loop: the whole text is read anew for every token."""
    model = random_weights()

    def write():
        start = time.perf_counter()
        tokens, first = torch.tensor([PROMPT]), 0.0
        with torch.inference_mode():
            for _ in range(NEW):
                following = model(tokens)[:, -1].argmax(dim=1, keepdim=True)
                tokens = torch.cat([tokens, following], dim=1)
                first = first or time.perf_counter() - start
        return time.perf_counter() - start, first

    return write


def transformers(folder, dtype, rows=1):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))

    def write():
        prompts = torch.tensor([[1000 + row * 7, *PROMPT[1:]] for row in range(rows)])
        start = time.perf_counter()
        tokens = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=NEW,
            min_new_tokens=NEW, do_sample=False, pad_token_id=0, eos_token_id=None,
        )  # fmt: skip
        assert tokens.shape == (rows, len(PROMPT) + NEW)
        return time.perf_counter() - start, None

    return write


def llama_cpp(folder, kind):
    import llama_cpp

    path = folder / f"{kind}.gguf"
    if not path.exists():
        export_gguf(random_weights(), gpt2_tokenizer(), path, kind)
    engine = llama_cpp.Llama(
        str(path), n_ctx=len(PROMPT) + NEW, n_threads=torch.get_num_threads(), verbose=False
    )

    def write():
        engine.reset()
        start, first = time.perf_counter(), 0.0
        following = PROMPT
        for _ in range(NEW):
            engine.eval(following)
            # Without logits_all the last position's logits alone are kept, in the last row.
            logits = engine._ctx.get_logits()
            following = [int(np.ctypeslib.as_array(logits, (50257,)).argmax())]
            first = first or time.perf_counter() - start
        return time.perf_counter() - start, first

    write.bytes = path.stat().st_size
    return write


def engines(folder):
    """Return how to build each engine, and how many rows it writes."""
    precisions = ("float32", "bfloat16", "int8")
    made = {f"minigpt2 {p}": (partial(ours, p), 1) for p in precisions}
    made["plain loop float32"] = (plain, 1)
    for dtype in ("float32", "bfloat16"):
        made[f"transformers {dtype}"] = (partial(transformers, folder, dtype), 1)
    for kind in ("f32", "bf16", "q8_0"):
        made[f"llama.cpp {kind}"] = (partial(llama_cpp, folder, kind), 1)
    for p in precisions:
        made[f"minigpt2 {p} x{STREAMS}"] = (partial(ours, p, STREAMS), STREAMS)
    peer = f"transformers bfloat16 x{STREAMS}"
    made[peer] = (partial(transformers, folder, "bfloat16", STREAMS), STREAMS)
    missing = [name for name in ("transformers", "llama_cpp") if not find_spec(name)]
    return {k: v for k, v in made.items() if k.split()[0].replace(".", "_") not in missing}


def work(name, folder):
    """Be one engine: a first round that is not counted, then a round for every line that comes."""
    write = engines(folder)[name][0]()
    write()
    print(json.dumps(getattr(write, "bytes", None)), flush=True)
    for _ in sys.stdin:
        print(json.dumps(write()), flush=True)


def begin(name, folder):
    """Start an engine in a process of its own, its threads waiting as its users' do."""
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    if name.startswith("minigpt2"):
        environment["GOMP_SPINCOUNT"] = str(SPIN_ALONE)  # as the command sets it
    line = [sys.executable, __file__, "--engine", name, str(folder), *["--small"] * SMALL]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, env=environment)


def main():
    if sys.argv[1:2] == ["--engine"]:
        work(sys.argv[2], Path(sys.argv[3]))
        return
    given = [argument for argument in sys.argv[1:] if argument != "--small"]
    repeats, wanted = int(given[0]) if given else 5, tuple(given[1:])
    print(f"{platform.platform()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "hf"
        save_pretrained(random_weights(), gpt2_tokenizer(), folder)
        rows = {name: n for name, (_, n) in engines(folder).items()}
        rows = {name: n for name, n in rows.items() if not wanted or name.startswith(wanted)}
        sizes, rates, firsts, reading = {}, {}, {}, []
        workers = {}
        for name in rows:
            workers[name] = begin(name, folder)
            sizes[name] = json.loads(workers[name].stdout.readline())
            rates[name], firsts[name] = [], []
        for _ in range(repeats):
            reading.append(read_gbps())
            for name, worker in workers.items():
                print(file=worker.stdin, flush=True)
                seconds, first = json.loads(worker.stdout.readline())
                rates[name].append(rows[name] * NEW / seconds)
                firsts[name].append(first)
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    show(rows, sizes, rates, firsts, reading)


def show(rows, sizes, rates, firsts, reading):
    gbps = statistics.median(reading)
    print(f"memory read: {gbps:.1f} GB/s ({min(reading):.1f} to {max(reading):.1f})\n")
    print("| engine | tokens/s | times transformers bf16 | first, ms | share of memory |")
    print("|---|---|---|---|---|")
    for name, measured in rates.items():
        middle = statistics.median(measured)
        peer = "transformers bfloat16" + (f" x{STREAMS}" if rows[name] > 1 else "")
        ratios = [a / b for a, b in zip(measured, rates.get(peer, ()), strict=False)]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
        first = f"{1000 * statistics.median(firsts[name]):.0f}" if firsts[name][0] else ""
        share = middle / rows[name] * (sizes[name] or 0) / gbps / 1e9
        print(
            f"| {name} | {middle:.1f} ({min(measured):.1f} to {max(measured):.1f}) "
            f"| {ratio} | {first} | {f'{share:.0%}' if share else ''} |"
        )


if __name__ == "__main__":
    main()
