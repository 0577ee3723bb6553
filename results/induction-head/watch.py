"""When a run's heads began to copy: each head's induction score at every kept checkpoint.

    python results/induction-head/watch.py runs/names TEXT results/induction-head

Two scores: on a text (how much a head looks at what followed earlier copies of the token at hand),
and Olsson's test on random tokens repeated once. Writes scores.csv and induction.png.
"""

import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from minigpt2 import from_pretrained, insight
from minigpt2.checkpoints import RunDirectory


def main(run_dir, text_path, out_dir):
    line = Path(text_path).read_text(encoding="utf-8").splitlines()[-1]  # of the validation part
    rows = []
    for step, folder in RunDirectory(Path(run_dir)).history().items():
        model, tokenizer = from_pretrained(folder)
        ids = tokenizer.encode(line)[: model.config.block_size]
        scores = insight.head_scores(insight.record(model, ids, ("*.hook_pattern",)))
        random = insight.induction_scores(model)
        for layer in range(model.config.n_layer):
            for head in range(model.config.n_head):
                own = [getattr(scores, name)[layer, head] for name in ("previous", "induction")]
                values = [f"{value:.4f}" for value in (*own, random[layer, head])]
                rows.append([step, f"L{layer}H{head}", *values])
    with (Path(out_dir) / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["step", "head", "previous", "induction", "random"], *rows])
    draw(rows, Path(out_dir) / "induction.png")


def draw(rows, path):
    figure, axes = plt.subplots(figsize=(8, 4), dpi=100)
    for head in dict.fromkeys(row[1] for row in rows):
        own = [row for row in rows if row[1] == head and row[0] > 0]
        axes.plot([row[0] for row in own], [float(row[3]) for row in own], label=head)
    axes.set_xscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("induction score on a line not trained on")
    axes.legend(ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
