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
# # The data
#
# A language model learns from one long row of numbers. This notebook looks at the text that comes
# with the package, at the ways to turn it into numbers, and at how well one can predict it by
# counting alone. A trained model has to do better than counting, so these losses are the mark to
# beat.
#
# Numbers are printed by the code that computes them. What the text says in words about this corpus,
# an `assert` checks where it can.

# %%
import json
import math
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display

from minigpt2.data import Recipe, prepare, read_text
from minigpt2.data.statistics import describe, draw_statistics, with_statistics
from minigpt2.tokenizers import BPETokenizer

plt.rcParams["figure.dpi"] = 80
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)


def table(head, rows):
    """Print rows below their head, in columns as wide as they need to be."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


# %% [markdown]
# ## The text
#
# `read_text` gives the whole text as one string.

# %%
text = read_text("shakespeare")
print(f"{len(text):,} characters, {len(text.encode()):,} bytes, {text.count(chr(10)):,} lines")
every_word = text.split()
print(f"{len(every_word):,} words between white space, {len(set(every_word)):,} of them distinct")
print()
print(text[:230])

# %% [markdown]
# All characters are ASCII, so each takes exactly one byte in UTF-8. In most other texts a
# character may take up to four.

# %%
assert text.isascii() and len(text) == len(text.encode())

characters = Counter(text).most_common()
figure, axes = plt.subplots(figsize=(11, 3), layout="constrained")
names = [ascii(character).strip("'\"").replace("$", r"\$") for character, _ in characters]
axes.bar(names, [count for _, count in characters])
axes.set(yscale="log", ylabel="times", title=f"the {len(characters)} distinct characters")
axes.set_xlim(-1, len(characters))
axes.tick_params(axis="x", labelsize=8)
plt.show()

common = sum(count for _, count in characters[:10]) / len(text)
rare = [character for character, count in characters if count < 100]
print(f"the ten most frequent characters make up {common:.0%} of the text")
print("fewer than 100 times:", *map(ascii, rare))

# %% [markdown]
# ## Seven tokenizers
#
# A tokenizer turns text into ids. The package has four kinds:
#
# - `char`: one id a character, for exactly the characters of the text;
# - `byte`: one id a byte, 256 in all, for any text;
# - `bpe:N`: bytes first, then merges learned from the training text until there are N ids
#   (the next notebook shows how);
# - `gpt2`: the released vocabulary of GPT-2, learned from web pages.
#
# `prepare` reads the text, cuts off the last tenth for validation, makes the tokenizer and writes
# the ids to disk. `with_statistics` counts what is in them.

# %%
NAMES = ["char", "byte", "bpe:512", "bpe:1024", "bpe:2048", "bpe:4096", "gpt2"]
prepared = {
    name: prepare(["shakespeare"], folder / name.replace(":", "-"), Recipe(tokenizer=name))
    for name in NAMES
}
statistics = {name: with_statistics(data) for name, data in prepared.items()}

line = "Before we proceed any further, hear me speak."
for name, data in prepared.items():
    ids = data.tokenizer.encode(line)
    print(f"{name:9} {len(ids):3}  {'|'.join(data.tokenizer.decode([i]) for i in ids)}")

# %% [markdown]
# More ids to choose from means fewer tokens for the same text, but also more ids that the training
# text uses rarely or never. `unseen` counts the validation tokens whose id never occurs in
# training: about these, the training text teaches nothing.

# %%
rows = []
for name, found in statistics.items():
    vocabulary, train, val = found["vocabulary"], found["splits"]["train"], found["splits"]["val"]
    rows.append(
        [name, vocabulary["size"], vocabulary["used_in_training"], f"{train['tokens']:,}",
         f"{train['characters_per_token']:.2f}", f"{val['characters_per_token']:.2f}",
         vocabulary["validation_tokens_unseen_in_training"]]
    )  # fmt: skip
table(["tokenizer", "ids", "used", "tokens", "chars/token", "in validation", "unseen"], rows)

# %% [markdown]
# Two things in this table deserve a second look. The byte tokenizer has more ids than the character
# tokenizer, but makes the same tokens, because this text is ASCII. And every vocabulary of merges
# makes longer tokens of the training text than of the validation text. Even `gpt2` does, which was
# learned from neither, so the two parts of the text differ in themselves. But from `bpe:1024` on
# the gap is wider than that of `gpt2` and grows with the vocabulary: these merges were learned from
# the training text alone, and the more there are, the better they fit just that text.

# %%
tokens_of = {name: found["splits"]["train"]["tokens"] for name, found in statistics.items()}
assert tokens_of["byte"] == tokens_of["char"]
gaps = {}
for name in NAMES[2:]:
    train, val = (statistics[name]["splits"][split] for split in ("train", "val"))
    gaps[name] = train["characters_per_token"] / val["characters_per_token"]
    print(f"{name:9} tokens are {gaps[name] - 1:.1%} longer in training")
assert 1 < gaps["gpt2"] < gaps["bpe:1024"] < gaps["bpe:2048"] < gaps["bpe:4096"]
assert gaps["bpe:512"] > 1

# %% [markdown]
# ## Tokens per character against vocabulary size
#
# A smaller BPE vocabulary is the beginning of a larger one: the merges of `bpe:512` are the first
# merges of `bpe:4096`. So one list of merges gives every point of the curve.

# %%
merges = prepared["bpe:4096"].tokenizer.merges
for name in NAMES[2:5]:
    shorter = prepared[name].tokenizer.merges
    assert shorter == merges[: len(shorter)]

split_text = {}
for split in ("train", "val"):
    stream = getattr(prepared["char"], split)
    split_text[split] = prepared["char"].tokenizer.decode(stream.read(0, len(stream)).tolist())
assert split_text["train"] + split_text["val"] == text

sizes, curves = [], {"train": [], "val": []}
for number in [0, *np.geomspace(4, len(merges), 12).astype(int)]:
    tokenizer = BPETokenizer(merges[:number])
    sizes.append(tokenizer.vocab_size)
    for split, content in split_text.items():
        curves[split].append(len(tokenizer.encode_array(content)) / len(content))

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for split, curve in curves.items():
    axes.plot(sizes, curve, ".-", label=f"own BPE, {split}")
for name, marker in ("char", "s"), ("gpt2", "D"):
    found = statistics[name]
    share = 1 / found["splits"]["val"]["characters_per_token"]
    axes.plot(found["vocabulary"]["size"], share, marker, label=f"{name}, val")
axes.set(xscale="log", xlabel="vocabulary size", ylabel="tokens per character", ylim=(0, 1.05))
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()

first = curves["train"][0] - curves["train"][len(sizes) // 2]
second = curves["train"][len(sizes) // 2] - curves["train"][-1]
print(f"the first {sizes[len(sizes) // 2] - sizes[0]} merges save {first:.3f} tokens a character,")
print(f"the next {sizes[-1] - sizes[len(sizes) // 2]} save {second:.3f} more")

# %% [markdown]
# The curve falls steeply and then flattens: the first merges are of pairs that occur everywhere,
# later ones of pairs that occur a few times. Each further id also costs the model one row of its
# embedding. For a small text a small vocabulary is enough.

# %%
assert first > second
assert all(a > b for curve in curves.values() for a, b in pairwise(curve))

# %% [markdown]
# ## Which tokens are frequent

# %%
shown = ["char", "bpe:1024", "gpt2"]
table(
    ["rank", *shown],
    [
        [rank + 1]
        + [
            f"{statistics[name]['most_frequent'][rank]['text']!a} "
            f"{statistics[name]['most_frequent'][rank]['count']:6,}"
            for name in shown
        ]
        for rank in range(15)
    ],
)

# %% [markdown]
# Sorted by frequency, words of natural language follow Zipf's law: the n-th most frequent one
# occurs about 1/n as often as the first. On two logarithmic axes that is a straight line of slope
# -1. Characters and small vocabularies are too few to follow it: their curve bends and breaks off.
# From `bpe:1024` on, the larger the vocabulary, the more its tokens are like words, and the closer
# the slope comes to -1.

# %%
words = np.sort(list(Counter(split_text["train"].split()).values()))[::-1]
ranks = np.unique(np.geomspace(1, len(words), 100).astype(int))
zipf = {name: np.array(found["rank_frequency"]).T for name, found in statistics.items()}
zipf["words"] = ranks, words[ranks - 1]

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name in ["char", "bpe:512", "bpe:1024", "bpe:4096", "gpt2", "words"]:
    axes.loglog(*zipf[name], "k--" if name == "words" else "-", label=name)
axes.set(xlabel="rank", ylabel="times in the training split", title="Zipf curves")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()

slopes = {}
for name in [*NAMES[3:], "words"]:
    ranks, counts = zipf[name]
    middle = (ranks >= 10) & (ranks <= 500)
    slopes[name] = np.polyfit(np.log(ranks[middle]), np.log(counts[middle]), 1)[0]
    print(f"{name:9} slope {slopes[name]:.2f} between rank 10 and rank 500")
assert all(abs(a + 1) > abs(b + 1) for a, b in pairwise(slopes.values()))

# %% [markdown]
# ## What counting predicts
#
# The loss is the average of -ln p, where p is the probability given to the token that came. Three
# predictions need no neural network:
#
# - uniform: each id is equally likely;
# - unigram: each id is as likely as it is frequent in the training split;
# - bigram: as likely as it is frequent there after the token before it, smoothed so that a pair
#   that never occurred has a small probability instead of none.
#
# All are scored on the validation split, in nats a token. But tokenizers cannot be compared that
# way: a longer token says more, so it is harder to guess and there are fewer to guess. Divided by
# the bytes of text that were predicted, losses are comparable. Bits per byte is that quotient with
# the logarithm to base 2.


# %%
def bits_per_byte(data, found):
    """Return (unigram, bigram) loss in bits a byte; the bigram does not predict the first token."""
    val = data.manifest["splits"]["val"]
    unigram = found["unigram_loss"] * val["tokens"] / val["bytes"]
    bigram = found["bigram_loss"] * (val["tokens"] - 1) / val["target_bytes"]
    return unigram / math.log(2), bigram / math.log(2)


per_byte = {name: bits_per_byte(prepared[name], statistics[name]) for name in NAMES}
table(
    ["tokenizer", "uniform", "unigram", "bigram", "unigram bits/byte", "bigram bits/byte"],
    [
        [name, f"{math.log(found['vocabulary']['size']):.3f}", f"{found['unigram_loss']:.3f}",
         f"{found['bigram_loss']:.3f}", *(f"{bits:.3f}" for bits in per_byte[name])]
        for name, found in statistics.items()
    ],
)  # fmt: skip

figure, (tokens, size) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
places = np.arange(len(NAMES))
for shift, kind in (-0.2, "unigram"), (0.2, "bigram"):
    losses = [statistics[name][f"{kind}_loss"] for name in NAMES]
    tokens.bar(places + shift, losses, 0.4, label=kind)
    size.bar(places + shift, [per_byte[name][kind == "bigram"] for name in NAMES], 0.4, label=kind)
for axes, title in (tokens, "nats per token"), (size, "bits per byte"):
    axes.set(title=title, xticks=places)
    axes.set_xticklabels(NAMES, rotation=45)
tokens.legend(frameon=False)
plt.show()

# %% [markdown]
# Per token the character tokenizer looks best by far. Per byte it is the other way round: a BPE
# token carries several characters with it, so even a unigram model over tokens knows words.
#
# For the unigram model a larger own vocabulary is always better here. For the bigram model it is
# not: there are as many contexts as ids, and the more there are, the fewer examples each has. The
# best size lies in the middle.

# %%
assert min(NAMES, key=lambda name: statistics[name]["bigram_loss"]) == "char"
assert max(per_byte["char"]) == max(max(pair) for name, pair in per_byte.items() if name != "byte")
own = NAMES[2:6]
assert all(per_byte[a][0] > per_byte[b][0] for a, b in pairwise(own))
best = min(own, key=lambda name: per_byte[name][1])
assert best not in (own[0], own[-1])
print(f"best own vocabulary for a bigram model: {best}, {per_byte[best][1]:.3f} bits per byte")
for name in own:
    found = statistics[name]
    pairs = found["splits"]["train"]["tokens"] / found["vocabulary"]["used_in_training"]
    print(f"{name:9} {pairs:7.0f} training tokens for each id in use")

# %% [markdown]
# ## Speeches as documents
#
# The text is a row of speeches with a blank line between them. Written as JSONL, one speech a
# line, they become documents: `prepare` puts an end-of-text token after each, and can hold out
# whole documents instead of the end of the text.

# %%
speeches = text.strip("\n").split("\n\n")
with_speaker = [speech for speech in speeches if speech.split("\n")[0].endswith(":")]
print(f"{len(speeches):,} speeches, {len(set(speeches)):,} of them distinct")
print(f"{len(with_speaker):,} begin with a line that names the speaker and ends in a colon")
again = Counter(speeches).most_common(1)[0]
print(f"the most frequent one comes {again[1]} times: {again[0]!r}")

path = folder / "speeches.jsonl"
path.write_text("".join(json.dumps({"text": speech}) + "\n" for speech in speeches), "utf-8")

kinds = {}
for name in shown:
    for split in ("position", "document"):
        out = folder / f"{split}-{name.replace(':', '-')}"
        data = prepare([str(path)], out, Recipe(tokenizer=name, split=split))
        kinds[name, split] = data, describe(data)


def documents(data, split):
    """Return the documents of a split as text, without the token that ends each."""
    stream = getattr(data, split)
    ids = stream.read(0, len(stream))
    starts, _, ends = stream.documents.read(0, len(stream.documents))
    assert (ids[ends - 1] == data.separator).all()
    spans = zip(starts, ends, strict=True)
    return [data.tokenizer.decode(ids[start : end - 1].tolist()) for start, end in spans]


# %% [markdown]
# Nothing is lost on the way: the two splits together hold the same speeches.

# %%
for data, _ in kinds.values():
    assert sorted(documents(data, "train") + documents(data, "val")) == sorted(speeches)

# %% [markdown]
# The package draws its statistics as one picture, here for `bpe:1024`.

# %%
draw_statistics(kinds["bpe:1024", "document"][1], folder / "picture.png")
display(Image(filename=folder / "picture.png", width=700))

# %% [markdown]
# ## How long a speech is, and which block_size covers it
#
# `block_size` is the number of tokens the model sees at once. A speech is covered if all its
# tokens, the one that ends it included, fit. Longer speeches are cut, and their later parts are
# then predicted without their beginning.

# %%
lengths = {}
for name in shown:
    stream = kinds[name, "document"][0].all
    starts, _, ends = stream.documents.read(0, len(stream.documents))
    lengths[name] = ends - starts

quantiles = {"shortest": 0, "quarter": 0.25, "median": 0.5, "three quarters": 0.75, "longest": 1}
table(
    ["tokens a speech", *quantiles, "mean"],
    [
        [name, *(int(np.quantile(every, q)) for q in quantiles.values()), f"{every.mean():.0f}"]
        for name, every in lengths.items()
    ],
)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
edges = 2 ** np.arange(2, 12.5, 0.5)
for name, every in lengths.items():
    left.hist(every, edges, histtype="step", label=name)
    ordered = np.sort(every)
    right.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), label=name)
left.set(xlabel="tokens", ylabel="speeches", title="length of speeches")
right.set(xlabel="block_size", ylabel="share", title="speeches covered")
for axes in (left, right):
    axes.set_xscale("log", base=2)
    axes.grid(alpha=0.3)
right.legend(frameon=False)
plt.show()

blocks = [2**power for power in range(5, 12)]
for what, weigh in ("speeches", np.ones_like), ("tokens in such speeches", np.array):
    print(f"\nshare of {what} that a block_size covers")
    table(
        ["", *blocks],
        [
            [name, *(f"{weigh(e)[e <= block].sum() / weigh(e).sum():.1%}" for block in blocks)]
            for name, e in lengths.items()
        ],
    )

# %% [markdown]
# Lengths are very uneven: the mean is far above the median, and a few long speeches hold a large
# part of the text. So the share of speeches covered says too much, and the second table, weighted
# by tokens, is the one to decide by.

# %%
for name, every in lengths.items():
    assert every.mean() > 1.5 * np.median(every)
    ordered = np.sort(every)[::-1]
    longest = ordered[: len(ordered) // 10].sum() / ordered.sum()
    need = {
        share: next(b for b in blocks if every[every <= b].sum() >= share * every.sum())
        for share in (0.5, 0.9)
    }
    print(
        f"{name:9} the longest tenth of speeches holds {longest:.0%} of the tokens; "
        f"block_size {need[0.5]} covers half of all tokens, {need[0.9]} nine tenths"
    )

# %% [markdown]
# ## By position or by document
#
# A split by position holds out the end of the text. A split by document draws lots, by a
# hash of each document's content, so that speeches held out stand between speeches that
# were trained on. The same speech twice gets the same hash, so both copies are on the same side.

# %%
rows = []
for split in ("position", "document"):
    data, _ = kinds["char", split]
    train, val = documents(data, "train"), documents(data, "val")
    known = {speech.split("\n")[0] for speech in train}
    strange = sum(speech.split("\n")[0] not in known for speech in val) / len(val)
    vocabulary = {word for speech in train for word in speech.split()}
    held_out = [word for speech in val for word in speech.split()]
    new = sum(word not in vocabulary for word in held_out) / len(held_out)
    both = len(set(train) & set(val))
    rows.append([split, len(train), len(val), strange, new, both])
table(
    ["split", "train", "val", "new speaker", "new words", "speeches in both"],
    [[*sizes, f"{strange:.1%}", f"{new:.1%}", both] for *sizes, strange, new, both in rows],
)
by_position, by_document = rows
assert by_position[3] > 0.5 > by_document[3] and by_position[4] > by_document[4]
assert by_document[5] == 0

# %% [markdown]
# In the split by position most speeches held out are by speakers who do not occur in training, and
# more of their words are new too. In the split by document the model is asked about scenes of which
# it has read the rest. That is easier, and counting shows by how much.

# %%
losses = {key: bits_per_byte(*pair) for key, pair in kinds.items()}
table(
    ["bits per byte", "split", "unigram", "bigram"],
    [[*key, *(f"{bits:.3f}" for bits in pair)] for key, pair in losses.items()],
)
for name in shown:
    assert losses[name, "document"][1] < losses[name, "position"][1]

# %% [markdown]
# So losses of different splits must never be compared, even on the same text with the same
# tokenizer. Which one is right depends on the question:
#
# - By document, where documents do not depend on one another and new ones will be of the same
#   kind: articles, messages, questions and answers.
# - By position, for one continuous text, where neighbouring parts share names and scenes. Drawing
#   lots there would let the model recognise what it has nearly seen.
#
# `Recipe(split="auto")` chooses by position for one text and by document for many.

# %%
assert prepared["char"].manifest["split"] == "position"
by_itself = prepare([str(path)], folder / "auto", Recipe(tokenizer="char"))
assert by_itself.manifest["split"] == "document"
scratch.cleanup()
