# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Hyper-parameters
#
# Which learning rate? Which batch size? How many layers? The honest answer is a measurement, with
# its uncertainty. This notebook reads a real sweep, kept in `results/sweep`, and then runs a small
# one. Run it from the folder it lies in: it looks for `../results`.

# %%
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that wait leave the cores to others

import matplotlib.pyplot as plt
from IPython.display import Image, display

from minigpt2 import resolve
from minigpt2.data import read_text
from minigpt2.sweeps.outcome import ranked, results_table
from minigpt2.sweeps.search import Search, read_records, sweep

plt.rcParams["figure.dpi"] = 80
# Okabe and Ito 2008: distinct for every kind of colour vision.
COLOURS = ["#0072B2", "#D55E00", "#009E73"]
RATE, BATCH, LAYERS = "training.learning_rate", "training.batch_size", "model.n_layer"


def table(rows):
    """Print rows, the first of them a head, in columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


# %% [markdown]
# ## The sweep
#
# A character model, 128 wide, context 128, was trained with every combination of three learning
# rates, three batch sizes and three depths, each with two seeds. Every run read the same text once,
# so a larger batch means fewer steps. The text is the first nine tenths of the plays, and its own
# last tenth is what the losses are measured on: the plays' validation split has seen none of this,
# so it can still judge the winner.

# %%
records = read_records(Path("../results/sweep"))
assert all(record["state"] == "complete" for record in records)
values = {
    key: sorted({record["values"][key] for record in records}) for key in (RATE, BATCH, LAYERS)
}
layer_names = {n: f"{n} layer{'s' * (n > 1)}" for n in values[LAYERS]}
runs = sum(len(record["losses"]) for record in records)
print(f"{len(records)} trials, {runs} runs, {sum(r['seconds'] for r in records) / 60:.0f} minutes")
for key, found in values.items():
    print(f"  {key}: {', '.join(f'{value:g}' for value in found)}")
steps = {record["values"][BATCH]: record["total_steps"] for record in records}
print("steps in one pass:", ", ".join(f"batch {b}: {n}" for b, n in sorted(steps.items())))

# %% [markdown]
# ## How much is chance?
#
# The same configuration with another seed starts from other weights and meets the text in another
# order. How far apart do two seeds end? Two configurations that differ by less than that are, for
# all we know, equally good.

# %%
apart = [abs(a - b) for a, b in (record["losses"].values() for record in records)]
# Half of all pairs of normal draws lie closer than 0.954 standard deviations. The median, and not
# the mean square, because one trial is no draw from the same hat: see below.
noise = statistics.median(apart) / 0.954
believable = 2 * noise  # of two trials' means, each over two seeds: two standard errors
print(f"two seeds differ by {statistics.median(apart):.4f} at the median, {max(apart):.4f} at most")
print(f"standard deviation of one run: {noise:.4f}")
print(f"a difference of two trials to be believed: above {believable:.4f}")
shaky = max(records, key=lambda record: max(record["losses"].values()) - record["loss"])
print("the shakiest trial:", {k.split(".")[1]: v for k, v in shaky["values"].items()})

# %% [markdown]
# One trial stands out: four layers at the highest rate and the largest batch. There training is on
# the edge of what it can bear, and whether a run stumbles is a matter of luck. That, too, only a
# second seed can show.

# %%
assert believable < 0.04 and max(apart) > 4 * believable
assert list(shaky["values"].values()) == [0.01, 32, 4]

# %% [markdown]
# ## All trials at a glance
#
# A square for every trial, dark is better; the number is the mean loss of its two seeds.

# %%
losses = {tuple(r["values"][key] for key in (LAYERS, BATCH, RATE)): r["loss"] for r in records}
figure, panels = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained", sharey=True)
for axes, layers in zip(panels, values[LAYERS], strict=True):
    grid = [[losses[layers, batch, rate] for rate in values[RATE]] for batch in values[BATCH]]
    picture = axes.imshow(
        grid, cmap="viridis", vmin=min(losses.values()), vmax=max(losses.values())
    )
    for row, line in enumerate(grid):
        for column, loss in enumerate(line):
            bright = loss > 2.2
            axes.text(column, row, f"{loss:.3f}", ha="center", va="center",
                      color="black" if bright else "white")  # fmt: skip
    axes.set(title=layer_names[layers], xlabel="learning rate")
    axes.set_xticks(range(3), [f"{rate:g}" for rate in values[RATE]])
    axes.set_yticks(range(3), [str(batch) for batch in values[BATCH]])
panels[0].set_ylabel("batch size")
figure.colorbar(picture, ax=panels, label="validation loss (nats a character)")
plt.show()

best = ranked(records)
for record in best[:4]:
    print(f"{record['loss']:.4f}", {k.split(".")[1]: v for k, v in record["values"].items()})

# %% [markdown]
# The first two are as good as one another: they differ by less than chance does. What stands below
# them is worse, and at first not by much. So there is no single best cell, there is a valley.

# %%
assert best[1]["loss"] - best[0]["loss"] < believable
assert best[2]["loss"] - best[0]["loss"] > best[1]["loss"] - best[0]["loss"]

# %% [markdown]
# ## Learning rate
#
# It matters more than anything else here. Too small a rate wastes the pass; too large a one, at a
# small batch, begins to cost something again.

# %%
figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", sharey=True)
for axes, layers in zip(panels, values[LAYERS], strict=True):
    for colour, marker, batch in zip(COLOURS, "os^", values[BATCH], strict=True):
        line = [losses[layers, batch, rate] for rate in values[RATE]]
        axes.plot(values[RATE], line, marker=marker, color=colour, label=f"batch {batch}")
    axes.set(xscale="log", xlabel="learning rate", title=layer_names[layers])
    axes.grid(alpha=0.25)
panels[0].set_ylabel("validation loss")
panels[0].legend(frameon=False)
plt.show()


def best_rate(layers, batch):
    return min(values[RATE], key=lambda rate: losses[layers, batch, rate])


table([["batch", *(layer_names[layers] for layers in values[LAYERS])]]
      + [[str(batch), *(f"{best_rate(layers, batch):g}" for layers in values[LAYERS])]
         for batch in values[BATCH]])  # fmt: skip
span = {key: [statistics.fmean(r["loss"] for r in records if r["values"][key] == v) for v in found]
        for key, found in values.items()}  # fmt: skip
for key, means in span.items():
    print(f"means over {key}: {', '.join(f'{m:.3f}' for m in means)}, a span of "
          f"{max(means) - min(means):.3f}")  # fmt: skip

# %% [markdown]
# The table shows the best rate of the three for each batch size: **the larger the batch, the larger
# the rate it wants**. A large batch averages more noise out of each gradient, so its steps may be
# longer; and it has fewer of them in one pass, so they had better be. Whoever changes the batch
# size and keeps the rate compares two different things.

# %%
assert max(span[RATE]) - min(span[RATE]) > max(span[BATCH]) - min(span[BATCH])
assert all(best_rate(layers, 32) >= best_rate(layers, 8) for layers in values[LAYERS])
assert all(best_rate(layers, 32) == 0.01 for layers in values[LAYERS])

# %% [markdown]
# ## Batch size
#
# With the best rate for each batch size, and the same text read once by all:

# %%
at_best = {(n, b): min(losses[n, b, rate] for rate in values[RATE])
           for n in values[LAYERS] for b in values[BATCH]}  # fmt: skip
table([["batch", "steps", *(layer_names[layers] for layers in values[LAYERS])]]
      + [[str(b), str(steps[b]), *(f"{at_best[n, b]:.3f}" for n in values[LAYERS])]
         for b in values[BATCH]])  # fmt: skip

# %% [markdown]
# In one pass the many small steps of a small batch beat the few steps of a large one, whatever the
# depth (8 and 16 are close where the model has one layer). That is a statement about *a pass of
# text*. On a GPU, where a large batch costs hardly more time than a small one, the question is
# another: there compare at equal seconds.

# %%
assert all(at_best[n, 32] > at_best[n, 16] + believable for n in values[LAYERS])
assert all(at_best[n, 8] < at_best[n, 16] + believable for n in values[LAYERS])

# %% [markdown]
# ## Number of layers
#
# Does a deeper model help here?

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained", sharey=True)
for colour, marker, rate in zip(COLOURS, "os^", values[RATE], strict=True):
    for style, batch in zip(("-", "--", ":"), values[BATCH], strict=True):
        line = [losses[layers, batch, rate] for layers in values[LAYERS]]
        left.plot(values[LAYERS], line, style, marker=marker, color=colour,
                  label=f"rate {rate:g}" if batch == 8 else None)  # fmt: skip
left.set(xlabel="layers", ylabel="validation loss", xticks=values[LAYERS])
left.legend(frameon=False, title="solid: batch 8, dashed: 16, dotted: 32", fontsize=8)
for colour, marker, layers in zip(COLOURS, "os^", values[LAYERS], strict=True):
    chosen = [record for record in records if record["values"][LAYERS] == layers]
    right.plot([r["seconds"] / 2 for r in chosen], [r["loss"] for r in chosen], marker,
               color=colour, label=layer_names[layers])  # fmt: skip
right.set(xlabel="seconds a run (the machine was shared)", xscale="log")
right.set_xticks([20, 40, 80, 120], ["20", "40", "80", "120"])
right.minorticks_off()
right.legend(frameon=False)
for axes in (left, right):
    axes.grid(alpha=0.25)
plt.show()

table([["rate", "batch", "1 layer", "4 layers", "4 instead of 1"]]
      + [[f"{rate:g}", str(batch), f"{losses[1, batch, rate]:.3f}", f"{losses[4, batch, rate]:.3f}",
          f"{losses[4, batch, rate] - losses[1, batch, rate]:+.3f}"]
         for rate in values[RATE] for batch in values[BATCH]])  # fmt: skip

# %% [markdown]
# Not in one pass. Only where the rate is too small for the batch (the upper rows) do four layers
# end lower than one; at rates that suit, one layer is as good or better, and takes a quarter of the
# time. Somebody who had tried 0.001 alone would have concluded the opposite: **a comparison of
# architectures at one learning rate is a comparison of learning rates**.
#
# It does not mean that depth is useless. One pass is short, and a deep model needs longer before
# its upper layers are worth anything. After five passes at rate 0.003 and batch 8 the four layers
# had caught up with the one: `results/sweep` has the figures.

# %%
assert min(losses[1, b, r] for b in values[BATCH] for r in values[RATE]) == best[0]["loss"]
assert all(losses[4, batch, 0.001] < losses[1, batch, 0.001] for batch in (16, 32))
assert all(losses[4, batch, 0.003] > losses[1, batch, 0.003] for batch in values[BATCH])

# %% [markdown]
# ## A sweep of your own
#
# The command is
#
#     minigpt2 sweep novel.txt --search "training.learning-rate=log(1e-4,1e-1)" --prune
#
# and from Python it is a generator of events. Here eight trials of a tiny model; the sampler (TPE)
# draws ten at random and then tries rates near those that went well; eight are too few to see that.
# With `prune` a trial that is behind the others after a tenth, three tenths or nine tenths of its
# run is stopped there.

# %%
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
(folder / "text.txt").write_text(read_text("shakespeare")[:60_000], encoding="utf-8")
config = resolve(
    flags={
        "data.input_file": str(folder / "text.txt"),
        "model.n_layer": 1, "model.n_head": 2, "model.n_embd": 32, "model.block_size": 32,
        "training.max_steps": 200, "training.eval_interval": 20, "training.batch_size": 16,
        "training.dtype": "float32", "training.attention": "explicit",
    },
    environment={},
).config  # fmt: skip
search = Search((f"{RATE}=log(1e-4,1e-1)",), sampler="tpe", trials=8, prune=True)
end = list(sweep(config, search, folder / "sweep"))[-1]
table([row[:3] + row[-1:] for row in results_table([RATE], end.records)])
display(Image((folder / "sweep/sweep.png").read_bytes(), width=700))

# %% [markdown]
# A loss in brackets is where a stopped trial stood. The folder has it all as files, `best.yaml`
# among them, which `minigpt2 train --config` takes; a sweep that was killed goes on where it was.

# %%
print(sorted(path.name for path in (folder / "sweep").iterdir()))
assert len(end.records) == 8 and end.best["values"][RATE] > 1e-3

# %% [markdown]
# ## What to take along
#
# - Know the spread of seeds before you compare anything. Here it is about a hundredth of a nat.
# - Search the learning rate first, in steps of three, over two powers of ten. Everything else moves
#   the best rate, so search it again with whatever you change.
# - Read small batches before large ones, when text is what you are short of.
# - Ask what is held equal: passes of text, steps, or seconds. The answers differ.
# - The best of many is flattered by having been chosen. Judge it on text that chose nothing.

# %%
scratch.cleanup()
