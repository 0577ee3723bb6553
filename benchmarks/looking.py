"""How long people wait for what they look at, and how much of it is sent.

    python benchmarks/looking.py [--small] [REPEATS]

Models with random weights, as large as GPT-2's 124M and nanoGPT's 10.65M (6 layers, 6 heads, 384
wide), behind the real server on two cores; each view is asked with 64 tokens over HTTP, and with
512 for the bytes. Where Chromium and Playwright are there, the page's first paint is timed too,
with nothing in its cache.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import torch

from minigpt2 import GPT2, GPT2Config, save_pretrained
from minigpt2.tokenizers import make_tokenizer

SMALL = "--small" in sys.argv  # proves nothing but that it runs
REPEATS = int(sys.argv[-1]) if sys.argv[-1].isdecimal() else 5
SHAPES = {
    "10.65M": (65, 256, 6, 6, 384),
    "124M": (50257, 1024, 12, 12, 768),
}
if SMALL:
    REPEATS, SHAPES = 1, {"tiny": (65, 64, 2, 2, 32)}
VIEWS = {
    "next": {}, "attention": {}, "attention, one head": {"layer": 1, "head": 1},
    "lens": {"token": 11}, "contributions": {}, "ablate": {"parts": ["L0H0"]},
    "walk": {"layer": 1, "head": 1},
}  # fmt: skip
# `make page` builds it; the switches keep Chromium from asking anybody anything.
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def ask(address, model, view, tokens, more):
    """Return the seconds and the bytes of one answer."""
    body = {"view": view.partition(",")[0], "model": model, "prompt": tokens, **more}
    begun = time.perf_counter()
    with urllib.request.urlopen(f"{address}api/inspect", json.dumps(body).encode()) as answer:
        size = len(answer.read())
    return time.perf_counter() - begun, size


def text_of(name, size):
    """Return a text of so many tokens: of characters, or of words of GPT-2's own."""
    return "a" * size if SHAPES[name][0] == 65 else " the" * size


def first_paint(address):
    """Return the seconds from opening the page to its first paint, or None without a browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return None
    painted = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=SWITCHES)
        for _ in range(REPEATS):
            context = chromium.new_context()  # with an empty cache
            page = context.new_page()
            page.goto(f"{address}#view=attention")
            page.wait_for_selector("h1")
            painted.append(page.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            ) / 1000)  # fmt: skip
            context.close()
        chromium.close()
    return statistics.median(painted), max(painted)


def main():
    """Serve the models, ask, and print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, shape in SHAPES.items():
            torch.manual_seed(1)
            tokenizer = make_tokenizer(
                "gpt2" if shape[0] > 65 else "char", ["".join(chr(c) for c in range(62, 127))]
            )
            save_pretrained(GPT2(GPT2Config(*shape)), tokenizer, Path(scratch) / name)
        folders = [str(Path(scratch) / name) for name in SHAPES]
        command = [sys.executable, "-m", "minigpt2", "serve", *folders, "--port", "0"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            address = next(line.split()[-1] for line in process.stderr if "the page:" in line)
            wait(f"{address}health")
            for name in SHAPES:
                print(f"\n| {name} | seconds, 64 tokens | slowest | bytes | bytes, most tokens |")
                print("|---|---|---|---|---|")
                for view, more in VIEWS.items():
                    most = min(512, SHAPES[name][1])
                    rows = [ask(address, name, view, text_of(name, min(64, most)), more)
                            for _ in range(REPEATS + 1)][1:]  # the first warms up  # fmt: skip
                    seconds = [row[0] for row in rows]
                    _, large = ask(address, name, view, text_of(name, most), more)
                    print(f"| {view} | {statistics.median(seconds):.3f} | {max(seconds):.3f} "
                          f"| {rows[0][1]:,} | {large:,} |", flush=True)  # fmt: skip
            if (paint := first_paint(address)) is not None:
                print(f"\nfirst paint: {paint[0]:.2f} s, slowest {paint[1]:.2f} s")
        finally:
            process.terminate()
            process.wait(60)


def wait(address):
    """Wait until a server answers with 200."""
    for _ in range(600):
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{address} does not answer")


if __name__ == "__main__":
    main()
