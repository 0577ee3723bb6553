"""How fast GPT-2 124M writes, beside transformers, llama.cpp and a loop without a cache.

    python benchmarks/generation.py [REPEATS] [ENGINE ...]

Random weights (speed does not depend on them), a prompt of 16 tokens, 128 new ones, greedy, no
stop. The engines take turns within each round; figures are medians over the rounds with their
range, ratios are medians of the rounds' own ratios. What is not installed is left out. `first` is
the time to the first token in a warm engine, `memory` the share of the memory's measured speed.
"""

import gc
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command minigpt2 sets it

import numpy as np
import torch

from minigpt2 import gpt2_tokenizer, save_pretrained
from minigpt2.generation import Engine, Request, Sampling, Token
from minigpt2.generation.speed import read_gbps
from minigpt2.interop.gguf_file import export_gguf
from minigpt2.model import GPT2, GPT2Config, bytes_read, set_precision

PROMPT, NEW, STREAMS = list(range(464, 480)), 128, 32


def random_weights():
    torch.manual_seed(0)
    return GPT2(GPT2Config(50257)).eval()


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
    made = {f"minigpt2 {p}": (partial(ours, p), 1) for p in ("float32", "bfloat16", "int8")}
    made["plain loop float32"] = (plain, 1)
    if importlib.util.find_spec("transformers"):
        for dtype in ("float32", "bfloat16"):
            made[f"transformers {dtype}"] = (partial(transformers, folder, dtype), 1)
    if importlib.util.find_spec("llama_cpp"):
        for kind in ("f32", "bf16", "q8_0"):
            made[f"llama.cpp {kind}"] = (partial(llama_cpp, folder, kind), 1)
    for precision in ("float32", "bfloat16", "int8"):
        made[f"minigpt2 {precision} x{STREAMS}"] = (partial(ours, precision, STREAMS), STREAMS)
    if importlib.util.find_spec("transformers"):
        made[f"transformers bfloat16 x{STREAMS}"] = (
            partial(transformers, folder, "bfloat16", STREAMS), STREAMS,
        )  # fmt: skip
    return made


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{platform.platform()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_pretrained(random_weights(), gpt2_tokenizer(), folder / "hf")
        wanted = sys.argv[2:]
        made = {
            name: (build(), rows)
            for name, (build, rows) in engines(folder / "hf").items()
            if not wanted or any(name.startswith(part) for part in wanted)
        }
        gc.collect()
        for write, _ in made.values():  # a first round, not counted
            write()
        rates, firsts, reading = {name: [] for name in made}, {name: [] for name in made}, []
        for _ in range(repeats):
            reading.append(read_gbps())
            for name, (write, rows) in made.items():
                seconds, first = write()
                rates[name].append(rows * NEW / seconds)
                firsts[name].append(first)
    gbps = statistics.median(reading)
    print(f"memory read: {gbps:.1f} GB/s ({min(reading):.1f} to {max(reading):.1f})\n")
    print("| engine | tokens/s | times transformers bf16 | first, ms | share of memory |")
    print("|---|---|---|---|---|")
    for name, (write, rows) in made.items():
        middle = statistics.median(rates[name])
        peer = rates.get("transformers bfloat16" + (f" x{STREAMS}" if rows > 1 else ""))
        ratios = [a / b for a, b in zip(rates[name], peer or rates[name], strict=True)]
        first = firsts[name][0] and f"{1000 * statistics.median(firsts[name]):.0f}"
        size = getattr(write, "bytes", None)
        share = f"{middle / rows * size / gbps / 1e9:.0%}" if size else ""
        print(
            f"| {name} | {middle:.1f} ({min(rates[name]):.1f} to {max(rates[name]):.1f}) "
            f"| {statistics.median(ratios):.2f} | {first or ''} | {share} |"
        )


if __name__ == "__main__":
    main()
