"""What `minigpt2 train` says it will take, beside what the process took at its peak (Linux).

python benchmarks/memory.py        (a few minutes on two cores; the largest needs 6 GB)
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

SCALE = {"MB": 1e6, "GB": 1e9}
LAUNCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
SHORT = ["--training.max-steps", "3", "--training.eval-interval", "1000"]
LARGE = ["gpt2-124m", "--training.sequence-length", "512", "--training.batch-size", "4",
         "--training.micro-batch-size", "2"]  # fmt: skip
CASES = [
    ["shakespeare-char"],
    ["tiny-byte"],
    ["shakespeare-bpe"],
    ["shakespeare-char-10m", "--training.batch-size", "32", "--training.micro-batch-size", "16"],
    ["shakespeare-char-10m", "--training.batch-size", "32", "--training.micro-batch-size", "16",
     "--training.activation-checkpointing", "1"],
    LARGE,
    [*LARGE, "--training.activation-checkpointing", "2"],
    [*LARGE, "--training.activation-checkpointing", "1"],
]  # fmt: skip


def measure(arguments: list[str], folder: str) -> tuple[float, float]:
    """Return (estimated, measured) bytes of one short training run."""
    line = [sys.executable, "-m", "minigpt2", "train", "--preset", *arguments, *SHORT]
    text = Path(folder) / "text.txt"
    text.write_text("to be, or not to be, that is the question;\n" * 600, encoding="utf-8")
    out = Path(folder) / f"run-{len(list(Path(folder).iterdir()))}"
    # Through a small process of its own: a child begins with the peak of the process that forks it.
    launch = [sys.executable, "-c", LAUNCH, *line, str(text), "--out", str(out)]
    told = subprocess.run(launch, capture_output=True, text=True, check=False)
    found = re.search(r"memory: about ([\d.]+) (MB|GB)", told.stderr)
    if told.returncode or found is None:
        raise SystemExit(told.stdout + told.stderr)
    return float(found[1]) * SCALE[found[2]], float(told.stdout) * 1024


def main() -> None:
    print("| preset and options | said | measured | said / measured |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            said, measured = measure(case, folder)
            name = " ".join(case).replace("--training.", "")
            print(f"| {name} | {said / 1e6:,.0f} MB | {measured / 1e6:,.0f} MB "
                  f"| {said / measured:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
