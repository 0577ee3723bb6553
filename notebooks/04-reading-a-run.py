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
# # Reading a run
#
# Training leaves a folder behind: losses, samples, checkpoints. This notebook trains a small model
# and then reads what the run left: what the curves say and what they do not, where the model is
# good and where it is not, and what its attention looks at.

# %%
import json
import os
import tempfile
import warnings
from collections import Counter
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the network
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that wait leave the cores to others

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

from minigpt2 import (
    Sampling,
    evaluate,
    from_pretrained,
    generate,
    insight,
    open_dataset,
    resolve,
    train,
)
from minigpt2.data import bigram_loss, read_text
from minigpt2.data.batches import windows
from minigpt2.training import Sampled, Started

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its progress bars would like widgets; none are shown here
    import transformers
transformers.utils.logging.disable_progress_bar()

plt.rcParams["figure.dpi"] = 80
# Okabe and Ito 2008: distinct for every kind of colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)


def table(head, rows):
    """Print rows below their head, in columns as wide as they need to be."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


# %% [markdown]
# ## A run
#
# `resolve` makes a configuration of a few choices, the rest are defaults. The text is the first
# part of the corpus, so that it is read several times over. Every step is logged and many
# checkpoints are kept, more than one usually would, because they are to be read here.
#
# `train` is a generator: it yields an event for everything that happens, and whoever takes the
# events decides what to show.

# %%
(folder / "plays.txt").write_text(read_text("shakespeare")[:300_000], encoding="utf-8")
config = resolve(
    environment={},
    flags={
        "model.n_layer": 3,
        "model.n_head": 4,
        "model.n_embd": 64,
        "model.block_size": 64,
        "data.input_file": str(folder / "plays.txt"),
        "training.max_steps": 1000,
        "training.batch_size": 12,
        "training.learning_rate": 5e-3,
        "training.min_learning_rate": 5e-5,
        "training.schedule": "wsd",
        "training.warmup_steps": 50,
        "training.eval_interval": 100,
        "training.device": "cpu",
        "training.dtype": "float32",
        "training.attention": "explicit",
        "logging.log_interval": 1,
        "logging.save_interval": 100,
        "logging.sample_interval": 250,
        "logging.keep_last": 100,
        "logging.model_save_path": str(folder / "run"),
    },
).config
run = folder / "run"

events = list(train(config))
print(Counter(type(event).__name__ for event in events))
started, finished = events[0], events[-1]
assert isinstance(started, Started) and finished.reason == "complete"
print(f"{started.parameters:,} parameters, {len(started.data.train):,} characters to train on,")
print(f"{len(started.data.val):,} to validate on, {finished.seconds:.0f} seconds")
print(f"best validation loss {finished.best_loss:.3f} at step {finished.best_step},", end=" ")
print(f"a counted bigram has {finished.bigram_loss:.3f}")
assert finished.best_loss < finished.bigram_loss - 0.2

# %% [markdown]
# ## What is in the folder
#
# Everything the run needs to be continued, and everything to read it by.


# %%
def files(folder):
    """Print a folder's files with their sizes, folders with all that is in them."""
    for path in sorted(folder.iterdir()):
        inside = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        size = sum(part.stat().st_size for part in inside)
        print(f"{path.name:24} {'' if path.is_file() else f'{len(inside)} files':>8} {size:>10,} B")


files(run)
print("\nthe best checkpoint:")
files(run / "best")

# %% [markdown]
# A checkpoint is a model directory as `transformers` knows it, with the optimizer's state beside
# it. `latest` and `best` point to two of them: the last one, and the one with the lowest validation
# loss.
#
# `metrics.jsonl` has a line of JSON for each logged step. A step that was evaluated has two more
# numbers: the loss over the whole validation split, and over a part of the training split of about
# the same size, which is always the same.

# %%
log = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
for entry in log[98:100]:
    print({key: round(value, 5) for key, value in entry.items()})
assert [entry["step"] for entry in log] == list(range(1, config.training.max_steps + 1))

evaluations = [entry for entry in log if "val_loss" in entry]


def column(name, entries=log):
    """Return one number of each entry as an array."""
    return np.array([entry[name] for entry in entries])


# %% [markdown]
# ## The loss of a step, and the loss
#
# `train_loss` is the loss of one batch, before the step that batch causes. The evaluations are
# losses over a whole split.

# %%
figure, axes = plt.subplots(figsize=(6.5, 3.3), layout="constrained")
axes.plot(column("step"), column("train_loss"), color=GREY, lw=0.5, aa=False, label="one batch")
axes.plot(column("step", evaluations), column("val_loss", evaluations), "o-", color=BLUE,
          label="validation, whole split")  # fmt: skip
axes.plot(column("step", evaluations), column("train_eval_loss", evaluations), "s-", color=ORANGE,
          label="training, a fixed part")  # fmt: skip
axes.axhline(finished.bigram_loss, color="black", ls=":", label="counted bigram, validation")
axes.set(xlabel="step", ylabel="nats a character", ylim=(1.4, 3.2))
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()

steps, losses = column("step")[-200:], column("train_loss")[-200:]
around = losses - np.polyval(np.polyfit(steps, losses, 1), steps)
fall = column("val_loss", evaluations)[-3] - column("val_loss", evaluations)[-1]
print(f"the last {len(steps)} batches scatter around their trend by {around.std():.3f}")
print(f"over about as many steps the validation loss fell by {fall:.3f}")
print(f"the lowest loss of a batch is {column('train_loss').min():.3f},", end=" ")
print(f"of an evaluation of the training part {column('train_eval_loss', evaluations).min():.3f}")
assert column("train_loss").min() < column("train_eval_loss", evaluations).min()
assert fall / 3 < around.std() < 3 * fall

# %% [markdown]
# Batches scatter about as much as the model improves in two hundred steps. The lowest batch is no
# achievement of the model: it was an easy batch.
#
# ## How noisy is an estimate?
#
# Many programs estimate the validation loss on a few random windows, since the whole split takes
# longer. How far off are they? Here is the loss of each validation window under each checkpoint.
# From these, any estimate can be drawn thousands of times.


# %%
data = open_dataset(run / "data")
tokenizer, T = data.tokenizer, config.model.block_size


def token_losses(model, context):
    """Return the loss of each validation token in full windows of `context`: (windows, T)."""
    cut = [(start, stop) for start, stop, _ in windows(len(data.val), context)]
    rows = [data.val.read(start, stop) for start, stop in cut if stop - start == context + 1]
    ids = torch.from_numpy(np.stack(rows))
    with torch.inference_mode():
        logits = torch.cat([model(part) for part in ids[:, :-1].split(256)])
    return F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")


checkpoints = sorted(run.glob("step-*"))
by_window = {}
for path in checkpoints:
    model, _ = from_pretrained(path)
    by_window[int(path.name.removeprefix("step-"))] = token_losses(model, T).mean(1).numpy()
window_losses = np.stack(list(by_window.values()))
true = window_losses.mean(1)
print(f"{window_losses.shape[0]} checkpoints, {window_losses.shape[1]} whole windows of {T}")
assert list(by_window) == column("step", evaluations).tolist()
assert np.abs(true - column("val_loss", evaluations)).max() < 0.01  # the last, short window is out

# %%
generator = np.random.default_rng(1)
TIMES = 4000


def estimates(losses, n, times=TIMES):
    """Return what `times` evaluations on n random windows each would say: (..., times)."""
    chosen = generator.integers(losses.shape[-1], size=(times, n))
    return losses[..., chosen].mean(-1)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
sizes = 2 ** np.arange(0, 9)
spread = {n: estimates(window_losses[-1], n).std() for n in sizes}
left.hist(estimates(window_losses[-1], 16), 40, color=BLUE)
left.axvline(true[-1], color="black", ls="--")
left.set(xlabel="estimated loss", title="last checkpoint, 16 windows; dashed: all windows")
left.set_yticks([])
right.loglog(sizes, spread.values(), "o", color=BLUE, label="measured")
right.loglog(sizes, window_losses[-1].std() / np.sqrt(sizes), color=GREY, label="1 / root of n")
right.set(xlabel="windows in an estimate", ylabel="standard deviation")
right.legend(frameon=False)
plt.show()
for n in (16, 64, 256):
    print(f"{n:3} windows ({n * T:6,} characters): off by {spread[n]:.3f} on average")
assert spread[256] > 0.01 and 0.4 < 256 / window_losses.shape[1] < 0.7
assert np.allclose(list(spread.values()), window_losses[-1].std() / np.sqrt(sizes), rtol=0.1)

# %% [markdown]
# Four times the windows halve the error, no faster. Even the largest estimates here, of about half
# the split, cannot tell apart models whose losses differ by a hundredth.
#
# ## Why the best of many estimates misleads
#
# Noise alone would be harmless, were it not for what people do with it: they take the minimum. The
# lowest of many noisy numbers is low because its noise was. Here the very same model is estimated n
# times, and the best estimate is kept.

# %%
figure, axes = plt.subplots(figsize=(5.5, 3), layout="constrained")
tries = [1, 2, 4, 8, 16, 32]
bias = {}
for n, colour in zip((16, 64, 256), (ORANGE, BLUE, GREEN), strict=True):
    found = [estimates(window_losses[-1], n, 500 * k).reshape(500, k).min(1).mean() for k in tries]
    bias[n] = np.array(found) - true[-1]
    axes.plot(tries, bias[n], "o-", color=colour, label=f"{n} windows")
axes.axhline(0, color="black", lw=0.8)
axes.set(xscale="log", xticks=tries, xlabel="tries", ylabel="best estimate minus truth")
axes.set_xticklabels(tries)
axes.minorticks_off()
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()
assert (bias[16][2:] < bias[256][2:]).all() and (bias[256][3:] < 0).all()
print(f"the best of {tries[-1]} estimates on 16 windows is {-bias[16][-1]:.3f} too low on average")

# %% [markdown]
# The same happens along a run. Suppose each of its checkpoints had been evaluated on windows of its
# own choice, the lowest estimate reported, and that checkpoint kept as the best.

# %%
rows = []
for n in (4, 16, 64, 256):
    noisy = np.stack([estimates(losses, n) for losses in window_losses])
    chosen = noisy.argmin(0)
    reported, really = noisy.min(0).mean(), true[chosen].mean()
    right_one = (chosen == true.argmin()).mean()
    rows.append([n, f"{reported:.3f}", f"{really:.3f}", f"{really - reported:.3f}",
                 f"{right_one:.0%}"])  # fmt: skip
    assert reported < really
table(["windows", "reported", "its true loss", "too low by", "the best was chosen"], rows)
print(f"the true loss of the best checkpoint: {true.min():.3f}")

# %% [markdown]
# The reported loss is one that no checkpoint has. And the fewer windows, the more often another
# checkpoint than the best is kept. The package scores the whole split at every evaluation; then the
# minimum compares models and not luck. What is left is that the validation text itself is a sample
# of all texts, and no evaluation on it can change that.
#
# ## Learning rate and gradient norm
#
# The rate rises for the first steps, stays, and falls to the end (`wsd`: warm-up, stable, decay).
# The gradient norm is the length of the gradient over all parameters, before it is cut to
# `grad_clip`.

# %%
figure, (top, low) = plt.subplots(2, 1, figsize=(6.5, 3.6), layout="constrained", sharex=True)
top.plot(column("step"), column("learning_rate"), color=BLUE)
top.set(ylabel="learning rate")
low.semilogy(column("step"), column("grad_norm"), color=ORANGE, lw=0.6, aa=False)
low.axhline(config.training.grad_clip, color="black", ls="--", label="grad_clip")
low.set(ylabel="gradient norm", xlabel="step")
low.legend(frameon=False)
for axes in (top, low):
    axes.grid(alpha=0.3)
plt.show()
cut_down = column("grad_norm") > config.training.grad_clip
first = config.training.warmup_steps
print(f"cut: {cut_down[:first].mean():.0%} of the first {first} steps,", end=" ")
print(f"{cut_down[first:].mean():.0%} of the others")
norms = column("grad_norm")[first:]
assert norms.max() < 10 * np.median(norms) and norms[-200:].mean() > norms[50:250].mean()
assert 0.2 < cut_down.mean() < 0.8
assert column("learning_rate").argmax() < config.training.max_steps / 2

# %% [markdown]
# The validation loss keeps falling while the rate does. The gradient norm does not go to zero: it
# is that of one batch, and measures how batches disagree as much as how far there is to go. Here it
# even rises while the loss falls. About half of all steps are cut to `grad_clip`. What would be
# alarming are peaks ten or a hundred times as high, or a loss that jumps with them.
#
# ## Training and validation
#
# The two curves above are apart from the first evaluation on. It is tempting to call all of the gap
# overfitting. But the validation split is the end of the text, other scenes than the training
# split, and may just be harder. A counted bigram can tell: it has too few numbers to learn a text
# by heart, so its own gap is mostly a difference between the texts.

# %%
bigram_gap = finished.bigram_loss - bigram_loss(data.train, data.train, tokenizer.vocab_size)
gaps = column("val_loss", evaluations) - column("train_eval_loss", evaluations)
epochs = column("tokens", evaluations) / len(started.data.train)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(epochs, gaps, "o-", color=BLUE, label="this model")
axes.axhline(bigram_gap, color="black", ls=":", label="counted bigram")
axes.set(
    xlabel="passes over the training split", ylabel="validation minus training", ylim=(0, None)
)
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()
print(f"gap after the first evaluation {gaps[0]:.3f}, at the end {gaps[-1]:.3f},", end=" ")
print(f"of the bigram {bigram_gap:.3f}")
assert gaps.min() > 0 and gaps[-1] < min(gaps[0], bigram_gap) + 0.02

# %% [markdown]
# The gap is no larger at the end than at the beginning, and not larger than the bigram's. So in
# this run it is the texts that differ; the model has not begun to learn its text by heart. That
# would be a gap that grows, and later a validation loss that turns upwards.
#
# ## Speed

# %%
speed = column("tokens_per_second")
print(f"tokens a second: median {np.median(speed):,.0f}, the middle half from", end=" ")
print(f"{np.quantile(speed, 0.25):,.0f} to {np.quantile(speed, 0.75):,.0f}")
share = (column("tokens")[0] / speed).sum() / finished.seconds
print(f"steps took {share:.0%} of the run; the rest went to evaluations, samples, checkpoints")
assert 0 < share < 1

# %% [markdown]
# The speed in the log is that of the steps alone. Evaluating and saving this often is for reading,
# not for speed.
#
# ## Does context help?
#
# The first token of a window is predicted from one character, the last from all that fit. If the
# model uses its context, later positions have a lower loss. Windows that begin at every eighth
# character give each position many targets.

# %%
model, _ = from_pretrained(run)
ids = data.val.read(0, len(data.val))
starts = np.arange(0, len(ids) - T, 8)
rows = torch.from_numpy(np.stack([ids[start : start + T + 1] for start in starts]))
with torch.inference_mode():
    logits = torch.cat([model(part[:, :-1]) for part in rows.split(256)])
losses = F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none").numpy()
by_position = losses.mean(0)

figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
axes.plot(range(1, T + 1), by_position, ".-", color=BLUE, label="this model")
axes.axhline(finished.bigram_loss, color="black", ls=":", label="counted bigram")
axes.set(xlabel="characters of context", ylabel="nats a character", xscale="log")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()
parts = {"1": by_position[0], "2": by_position[1], "3 to 4": by_position[2:4].mean(),
         "5 to 8": by_position[4:8].mean(), "9 to 16": by_position[8:16].mean(),
         "17 to 32": by_position[16:32].mean(), "33 to 63": by_position[32:-1].mean(),
         "64": by_position[-1]}  # fmt: skip
table(["characters of context", "loss"], [[name, f"{loss:.3f}"] for name, loss in parts.items()])
assert by_position[0] > by_position[1] > by_position[3] > by_position[8:].mean()
assert by_position[0] - by_position[7] > 5 * (by_position[7] - parts["33 to 63"])
assert finished.bigram_loss < by_position[0]
assert abs(parts["17 to 32"] - parts["33 to 63"]) < 0.05 and parts["64"] > parts["33 to 63"]

# %% [markdown]
# Context helps much at first and then hardly at all: nearly everything comes from the last eight
# characters, about a word and a half. The model could see 64; it has not learned to use them.
#
# Both ends of the curve tell something. With a single character to go by, the model is worse than
# the bigram, which was counted for just that; for the model it is one position of many. And at the
# very last position the loss is higher again. No later position ever looks at that one, so its
# vector in `wpe` has learned from its own prediction only.
#
# ## Which characters are hard?
#
# The average hides much. Here is the loss by the character that was to be predicted, for those that
# are frequent enough. Only the second half of each window counts, where there is context.

# %%
characters = np.array(list(tokenizer.decode(list(range(tokenizer.vocab_size)))))
targets, flat = rows[:, 1 + T // 2 :].numpy().ravel(), losses[:, T // 2 :].ravel()
count = np.bincount(targets, minlength=len(characters))
total = np.bincount(targets, weights=flat, minlength=len(characters))
often = np.flatnonzero(count >= 200)  # windows overlap: each target is in four of them
order = often[np.argsort((total / np.maximum(count, 1))[often])]
mean = total[order] / count[order]
names = [ascii(sign)[1:-1] for sign in characters[order].tolist()]
figure, axes = plt.subplots(figsize=(10, 2.7), layout="constrained")
axes.bar(range(len(order)), mean, color=BLUE)
axes.set(ylabel="nats", title="loss by the character that came", xticks=range(len(order)))
axes.set_xticklabels(names, fontsize=9)
axes.set_xlim(-1, len(order))
plt.show()
print("easiest:", *(f"{n} {m:.2f}" for n, m in zip(names[:6], mean[:6], strict=True)))
print("hardest:", *(f"{n} {m:.2f}" for n, m in zip(names[-6:], mean[-6:], strict=True)))

letters = np.char.isalpha(characters)
word = []  # for each target: how many letters of its word stand before it
for row in rows.numpy():
    run_length, lengths = 0, []
    for is_letter in letters[row]:
        lengths.append(run_length if is_letter else -1)
        run_length = run_length + 1 if is_letter else 0
    word.append(lengths[1 + T // 2 :])
word = np.array(word).ravel()
by_place = [flat[word == place].mean() for place in range(7)]
table(
    ["letter of its word", *range(1, 8), "no letter"],
    [["loss", *(f"{loss:.2f}" for loss in by_place), f"{flat[word == -1].mean():.2f}"]],
)
assert by_place[0] > max(by_place[1:]) + 0.3
assert {"\\n", " "} <= set(names[: len(names) // 3]) and {"?", "-"} <= set(names[-8:])

# %% [markdown]
# Blanks and line ends are easy, and so are capitals within the names of speakers: once a name has
# begun there is little choice. Signs that depend on the whole sentence are hardest. In a word the
# first letter is by far the hardest: it decides which word comes.
#
# ## Temperature
#
# Before a character is drawn, the logits are divided by the temperature. Below 1 the likely ones
# become likelier, above 1 all become more alike. Two questions: at which temperature do the
# probabilities fit the text best? And what does it do to what is written?

# %%
vocabulary = set(read_text("shakespeare").lower().replace("\n", " ").split())


def known_words(text):
    """Return the share of words, signs aside, that occur in the corpus."""
    words = text.lower().split()
    return sum(word in vocabulary for word in words) / max(1, len(words))


flat_logits = logits[:, T // 2 :: 4].flatten(0, 1)
flat_targets = rows[:, 1 + T // 2 :: 4].flatten()
temperatures = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 2.0])
fits = np.array([F.cross_entropy(flat_logits / t, flat_targets).item() for t in temperatures])
tried = [0.3, 0.6, 0.8, 1.0, 1.3]
written = {}
for temperature in tried:
    sampling = Sampling(500, temperature=temperature, seed=1)
    written[temperature] = "".join(generate(model, tokenizer, "\n", sampling))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.7), layout="constrained")
left.plot(temperatures, fits, "o-", color=BLUE)
left.set(xlabel="temperature", ylabel="nats a character", title="loss on the validation split")
right.plot(tried, [known_words(text) for text in written.values()], "o-", color=ORANGE)
right.set(xlabel="temperature", ylabel="share", ylim=(0, 1.02))
right.set_title("written words that occur in the corpus")
for axes in (left, right):
    axes.grid(alpha=0.3)
plt.show()
best = temperatures[fits.argmin()]
print(f"the loss is lowest at temperature {best:.1f}")
for temperature in (0.3, 0.8, 1.3):
    print(f"\n--- temperature {temperature}\n{written[temperature].strip()[:200]}")
assert 0.8 <= best <= 1.3
assert known_words(written[0.3]) > known_words(written[1.3])
assert Sampling().temperature == 0.8

# %% [markdown]
# The probabilities fit best about as they are, at 1: training made them so. Lower temperatures make
# safer words and repeat themselves, higher ones invent words. The default of the package, 0.8, is a
# compromise. What reads best and what predicts best are two questions.
#
# ## Samples through training
#
# The trainer writes a sample now and then, always from the same random numbers. `samples.txt` has
# them all; here is the beginning of each.

# %%
for event in events:
    if isinstance(event, Sampled):
        print(f"--- step {event.step}: {known_words(event.text):.0%} of the words are known")
        print(event.text.strip()[:160], end="\n\n")
samples = [known_words(event.text) for event in events if isinstance(event, Sampled)]
assert samples[-1] > samples[0] + 0.1

# %% [markdown]
# Samples are what people want to see, but one sample says little: which of two neighbouring ones is
# better one can hardly tell. What does show over the whole run is the share of known words.
#
# ## What attention looks at
#
# Each head of each layer has weights: how much of each earlier character goes into the average.
# `insight.record` keeps them while the model runs, under the name that TransformerLens gives them;
# the notebook "Looking inside" shows what else it can keep.


# %%
def attention_of(model, tokens):
    """Return the attention weights of all layers, (n_layer, B, H, T, T)."""
    seen = insight.record(model, tokens, "*.hook_pattern")
    return torch.stack([seen["pattern", layer] for layer in range(model.config.n_layer)])


sentence = "What say you, my lord?"
weights = attention_of(model, torch.tensor([tokenizer.encode(sentence)]))[:, 0]
L, H = weights.shape[:2]
figure, grid = plt.subplots(L, H, figsize=(8.5, 6.6), layout="constrained")
for layer in range(L):
    for head in range(H):
        axes = grid[layer, head]
        axes.imshow(weights[layer, head], cmap="cividis", vmin=0, vmax=0.6)
        axes.set_title(f"layer {layer}, head {head}", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    signs = list(sentence.replace(" ", "_"))
    grid[layer, 0].set_yticks(range(len(sentence)), signs, fontsize=7)
plt.show()

# %% [markdown]
# Rows look, columns are looked at. One sentence may be an accident, so here is the average over
# many windows of the validation split: how much of its weight each head gives to the position
# itself, to the one before, and so on.

# %%
many = attention_of(model, rows[:200, :-1])
back = torch.stack(
    [
        many.diagonal(-distance, dim1=-2, dim2=-1)[..., T // 2 :].mean((1, 3))
        for distance in range(16)
    ]
)
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
image = axes.imshow(back.flatten(1).t(), cmap="cividis", aspect="auto")
axes.set(xlabel="characters back", xticks=range(16), yticks=range(L * H))
axes.set_yticklabels([f"layer {n // H}, head {n % H}" for n in range(L * H)], fontsize=8)
figure.colorbar(image, label="mean weight")
plt.show()

before = back[1]
layer, head = divmod(int(before.argmax()), H)
even = (1 / torch.arange(T // 2 + 1, T + 1)).mean().item()
print(f"layer {layer}, head {head} gives {before.max():.0%} of its weight to the character before")
print(f"(shared evenly among all it may look at, that would be {even:.0%})")
near = back[:4].sum(0).mean(1)  # itself and the three before, by layer
print("weight on the nearest four, by layer:", *(f"{share:.0%}" for share in near.tolist()))
assert before.max() > 5 * even and layer == 0 and near[0] > 2 * near[1:].max()

# %% [markdown]
# Heads of the first layer look at the nearest characters, and one of them above all at the
# character before: it makes a pair of letters out of one, for the layers above to work with. Later
# layers look further and less evenly; what they look for depends on what they find, so it shows in
# the patterns of a sentence and not in an average over distances.
#
# ## The same model elsewhere
#
# A checkpoint is a model of `transformers`. On the same ids it has to give the same logits.

# %%
theirs = transformers.AutoModelForCausalLM.from_pretrained(run / "best")
their_tokenizer = transformers.AutoTokenizer.from_pretrained(run / "best")
assert their_tokenizer(sentence)["input_ids"] == tokenizer.encode(sentence)
with torch.inference_mode():
    ours, others = model(rows[:8, :-1]), theirs(rows[:8, :-1]).logits
print(type(theirs).__name__, f"logits of size {ours.std():.2f}", end=", ")
print(f"largest difference {(ours - others).abs().max():.0e}")
assert torch.allclose(ours, others, atol=1e-3)
whole = evaluate(model, data.val)
assert abs(whole.loss - finished.best_loss) < 1e-3
print(f"and the loss from the log, measured again: {whole.loss:.4f}")
