"""Fine-tuning against training from scratch, on the same text with the same tokenizer and time.

    python results/finetuning/compare.py BASE_RUN TEXT OUT_DIR [HOW_MANY_SEEDS]

Each seed runs once each way, in turn. From scratch is the recipe the base was made by, its length
chosen so that it takes as long as fine-tuning did, and once more with five times the steps.
"""

import json
import subprocess
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SEEDS = (1, 2, 3)


def run(*arguments: object) -> None:
    line = [sys.executable, "-m", "minigpt2", *map(str, arguments)]
    subprocess.run(line, check=True, capture_output=True)


def curve(run_dir: Path) -> list[tuple[float, float]]:
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [(entry["seconds"], entry["val_loss"]) for entry in entries if "val_loss" in entry]


def scratch(base: Path, text: Path, out: Path, steps: int, seed: int) -> None:
    run("train", text, "--preset", "shakespeare-bpe", "--data.tokenizer", base / "best",
        "--training.max-steps", steps, "--training.eval-interval", max(1, steps // 20),
        "--logging.sample-interval", steps, "--training.seed", seed, "--out", out)  # fmt: skip


def main() -> None:
    base, text, out = map(Path, sys.argv[1:4])
    seeds = SEEDS[: int(sys.argv[4])] if sys.argv[4:] else SEEDS
    runs: dict[str, list[Path]] = {
        "fine-tuned": [],
        "from scratch": [],
        "from scratch, 5 times the steps": [],
    }
    scratch(base, text, out / "pace", 60, 0)
    pace = curve(out / "pace")[-1][0] / 60
    for seed in seeds:
        tuned = out / f"fine-tuned-{seed}"
        run("finetune", base, text, "--training.num-epochs", 4, "--training.seed", seed,
            "--out", tuned)  # fmt: skip
        seconds = curve(tuned)[-1][0]
        runs["fine-tuned"].append(tuned)
        for name, times in (("from scratch", 1), ("from scratch, 5 times the steps", 5)):
            folder = out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            scratch(base, text, folder, round(times * seconds / pace), seed)
            runs[name].append(folder)
    draw(runs, out / "curves.png")
    for name, folders in runs.items():
        for folder in folders:
            points = curve(folder)
            best = min(loss for _, loss in points)
            print(f"{name}, {folder.name}: best {best:.4f}, {points[-1][0]:.1f} s, "
                  f"first {points[0][1]:.4f}")  # fmt: skip


def draw(runs: dict[str, list[Path]], path: Path) -> None:
    figure = Figure(figsize=(8, 4.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for colour, (name, folders) in zip(
        ("#0072B2", "#D55E00", "#009E73"), runs.items(), strict=True
    ):
        for number, folder in enumerate(folders):
            points = curve(folder)
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2,
                      label=name if number == 0 else None)  # fmt: skip
    axes.set(xlabel="seconds of training", ylabel="validation loss (nats a token)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
