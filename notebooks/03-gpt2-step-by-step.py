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
# # GPT-2 step by step
#
# This notebook builds GPT-2 from the simplest model that predicts at all. Each step adds one idea,
# says why, and measures it: every model is trained on the same text, on the same batches in the
# same order, and scored on the whole validation split. The table and the picture at the end put all
# steps side by side.
#
# The parts are those of the package. A step that has fewer parts than GPT-2 is a small block of our
# own, given to the package's model from outside.

# %%
import os
import tempfile
import warnings
from dataclasses import replace
from math import log
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the network
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that wait leave the cores to others

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import nn

from minigpt2 import (
    GPT2,
    Bigram,
    BigramConfig,
    GPT2Config,
    Recipe,
    Sampling,
    evaluate,
    generate,
    prepare,
    resolve,
)
from minigpt2.data import with_statistics
from minigpt2.data.batches import Batches
from minigpt2.model.attention import attention_weights, causal_mask, explicit_attention
from minigpt2.model.gpt2 import Block, CausalSelfAttention, KVCache, cross_entropy, set_attention
from minigpt2.training.loop import clip_gradients
from minigpt2.training.optimizers import build_optimizer, learning_rate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its progress bars would like widgets; none are shown here
    import transformers

plt.rcParams["figure.dpi"] = 80
# Okabe and Ito 2008: distinct for every kind of colour vision.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"


def table(head, rows):
    """Print rows below their head, in columns as wide as they need to be."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


# %% [markdown]
# ## The text and the training
#
# The text is the corpus of the first notebook, character by character. `fit` is the whole training:
# take the batch of a step, compute the loss and its gradient, let the optimizer move the
# parameters. It is short, a few seconds for each model, so the losses are those of models that have
# only begun to learn.

# %%
with tempfile.TemporaryDirectory() as scratch:
    data = prepare(["shakespeare"], Path(scratch) / "data", Recipe(tokenizer="char"))
    counted = with_statistics(data)
tokenizer, V = data.tokenizer, data.tokenizer.vocab_size

SEED = 1
shape = GPT2Config(vocab_size=V, block_size=32, n_layer=1, n_head=4, n_embd=64)
training = resolve(
    environment={},
    flags={
        "training.max_steps": 800,
        "training.batch_size": 16,
        "training.learning_rate": 4e-3,
        "training.min_learning_rate": 4e-5,
        "training.warmup_steps": 20,
        "training.schedule": "linear",
        "training.weight_decay": 0,
        "training.seed": SEED,
    },
).config.training


def fit(model, training=training):
    """Train a model; return its loss over the whole validation split."""
    set_attention(model, explicit_attention)
    optimizer = build_optimizer(model, training)
    batches = Batches(data.train, training.batch_size, shape.block_size, training.seed)
    for step in range(training.max_steps):
        model(*batches.batch(step)).backward()
        clip_gradients(model, training.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, training.max_steps, training)
        optimizer.step()
        optimizer.zero_grad()
    return evaluate(model, data.val).loss


steps = []


def add_step(name, loss, parameters=0):
    """Note a step's loss and say it."""
    steps.append((name, loss, parameters))
    print(f"{name}: {loss:.3f} nats a character, {parameters:,} parameters")


def train_step(name, config, block=Block):
    """Make a GPT-2 with such blocks, train it, note its loss and return it."""
    torch.manual_seed(SEED)
    model = GPT2(config, block=block)
    add_step(name, fit(model), sum(parameter.numel() for parameter in model.parameters()))
    return model


learnt = training.max_steps * training.batch_size * shape.block_size
print(f"{len(data.train):,} characters to train on; each model learns from {learnt:,} of them")

# %% [markdown]
# ## Shapes
#
# The letters below are used everywhere in the package: B sequences in a batch, T tokens in each, V
# ids in the vocabulary, C numbers for each token inside the model, H heads of D numbers each. All
# pictures of tensors are drawn from real ones: the shapes of what the model computed for two short
# pieces of text, so short that B, T, H, D and C are all different. (V and C happen to be equal.)


# %%
def side(size):
    """Return how long an axis of so many numbers is drawn."""
    return 0.15 * size**0.5


def draw(tensors):
    """Draw tensors in a row, each given as (name, letters, tensor): a sheet for the last two axes,
    one behind the other for those before.
    """  # fmt: skip
    axes = plt.figure(figsize=(11, 2.2)).subplots()
    left, tops = 0.0, []
    for name, letters, tensor in tensors:
        *stack, tall, wide = tensor.shape
        sheets = min(4, max([1, *stack]))
        for sheet in reversed(range(sheets)):
            place = left + 0.09 * sheet, 0.09 * sheet
            size = side(wide), side(tall)
            axes.add_patch(Rectangle(place, *size, facecolor="#cfe3f1", edgecolor=BLUE))
        middle, top = left + side(wide) / 2, side(tall) + 0.09 * sheets
        sizes = " ".join(f"{a}={n}" for a, n in zip(letters.split(), tensor.shape, strict=True))
        axes.text(middle, top + 0.06, name, ha="center")
        axes.text(middle, -0.08, sizes.replace(" ", "\n"), ha="center", va="top", fontsize=8)
        left += max(side(wide), 0.75) + 0.55
        tops.append(top)
    axes.set(xlim=(-0.4, max(left, 9)), ylim=(-0.95, max(tops) + 0.35), aspect="equal")
    axes.axis("off")
    plt.show()


def outputs(model, tokens):
    """Run the model once; return what each of its parts gave, by the part's name."""
    seen, hooks = {}, []
    for name, part in model.named_modules():

        def keep(part, given, output, name=name or "logits"):
            seen[name] = output.detach()

        hooks.append(part.register_forward_hook(keep))
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return seen


lines = ["To be, or ", "not to be:"]
tokens = torch.tensor([tokenizer.encode(line) for line in lines])
assert len({*tokens.shape, shape.n_embd, shape.n_head, shape.n_embd // shape.n_head}) == 5
assert shape.n_embd == V

# %% [markdown]
# ## Counting
#
# Two predictions need no training. The unigram gives each character its frequency in the training
# split. The bigram gives the frequency of each character after the one before. Guessing among all
# characters would have the loss ln V.

# %%
add_step("uniform", log(V))
add_step("unigram, counted", counted["unigram_loss"])
add_step("bigram, counted", counted["bigram_loss"])

# %% [markdown]
# ## 1. A table, trained
#
# The same table can be learned. Row i of `Bigram` holds V numbers, one for each character that may
# follow character i. They are *logits*: softmax turns them into probabilities. The table begins
# with zeros, which is the uniform prediction, and the gradient of the loss does the rest.
#
# Every entry is a parameter of its own that only its own pair of characters moves. So a table wants
# larger steps than the other models, and gets a much higher learning rate.

# %%
bigram = Bigram(BigramConfig(V, shape.block_size))
draw([("tokens", "B T", tokens), ("table", "V V", bigram.table),
      ("logits", "B T V", bigram(tokens))])  # fmt: skip
loss = fit(bigram, replace(training, learning_rate=0.1, min_learning_rate=1e-3))
add_step("bigram, trained", loss, bigram.table.numel())
assert abs(loss - counted["bigram_loss"]) < 0.05

# %% [markdown]
# Training comes to where counting is. Training is no magic: it finds what this model can express,
# and a table of pairs can express the frequencies of pairs and nothing else.
#
# ## 2. Vectors instead of rows
#
# A table of pairs cannot grow to longer contexts: three characters would need V times as many rows.
# So each token gets a vector of C numbers, its *embedding* (`wte`), to be computed with. Each
# position gets one as well (`wpe`), and the two are added. At the end a token's logit is the
# product of its own embedding with the vector at hand: the head is the embedding, *tied*.
#
# This is GPT-2 without any block, `n_layer=0`; of GPT-2's parts it also has the last LayerNorm.

# %%
embedding = train_step("embedding, tied head", replace(shape, n_layer=0))
seen = outputs(embedding, tokens)
draw([("tokens", "B T", tokens), ("wte", "V C", embedding.wte.weight), ("x", "B T C", seen["drop"]),
      ("logits", "B T V", seen["logits"])])  # fmt: skip
assert steps[-1][1] > loss + 0.2

# %% [markdown]
# That is worse than the table. The reason is the tied head: the score of b after a is the product
# of the vectors of a and b, and that of a after b is the same product. LayerNorm changes this
# little. But q is followed by u nearly always, and u hardly ever by q.
#
# To see it, take each model's logits for all pairs, without what belongs to the row or the column
# alone, and compare each pair with the reverse one.


# %%
def pair_scores(model):
    """Return the logits of each character after each, row and column means removed: (V, V)."""
    with torch.no_grad():
        scores = model(torch.arange(V)[:, None])[:, 0]
    return scores - scores.mean(0) - scores.mean(1, keepdim=True) + scores.mean()


likeness = {}
for name, model in {"table": bigram, "tied": embedding}.items():
    scores = pair_scores(model)
    likeness[name] = np.corrcoef(scores.flatten(), scores.t().flatten())[0, 1]
    print(f"{name:6} correlation of pairs with reversed pairs: {likeness[name]:.2f}")
assert likeness["tied"] > 0.6 > likeness["table"]

# %% [markdown]
# Tying saves V x C parameters and helps once something stands between the input and the head. So
# far nothing does.
#
# ## 3. One head of attention
#
# Attention lets a position read earlier ones. From each vector x come three: a *query* (what do I
# look for), a *key* (what do I have) and a *value* (what do I pass on). The product of a query with
# all keys, divided by the root of their length, gives scores; softmax makes *weights* of them that
# sum to one; and the output is the values averaged with these weights. A last linear map, `c_proj`,
# follows.
#
# A position must not see what it is to predict. So scores of later positions are set to minus
# infinity before the softmax, and their weights are zero: the causal mask.


# %%
class AttentionAlone(nn.Module):
    """A block that is attention and nothing else."""

    def __init__(self, config, layer):
        super().__init__()
        self.attn = CausalSelfAttention(config, layer)

    def forward(self, x, cache=None, mask=None):
        return self.attn(x, cache, mask)


def attention_inside(model, tokens):
    """Return q, k, v and the weights of each attention layer for these tokens."""
    seen = []

    def attend(q, k, v, dropout, mask):
        seen.append({"q": q, "k": k, "v": v, "weights": attention_weights(q, k, mask)})
        return explicit_attention(q, k, v, dropout, mask)

    set_attention(model, attend)
    with torch.no_grad():
        model(tokens)
    for block in model.h:
        block.attn.attend = explicit_attention
    return seen


one_head = replace(shape, n_head=1)
alone = train_step("one head alone", one_head, AttentionAlone)
inside = attention_inside(alone, tokens)[0]
draw([("x", "B T C", outputs(alone, tokens)["drop"])]
     + [(name, "B H T D", inside[name]) for name in "qkv"]
     + [("weights", "B H T T", inside["weights"])])  # fmt: skip


# %%
def show_weights(axes, weights, text, title):
    """Draw the attention (T, T) of one head over the characters of a text."""
    axes.imshow(weights, cmap="cividis", vmin=0, vmax=1)
    signs = ["_" if sign == " " else sign for sign in text]
    axes.set(title=title, xticks=range(len(text)), yticks=range(len(text)))
    axes.set_xticklabels(signs, fontsize=8)
    axes.set_yticklabels(signs, fontsize=8)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
show_weights(left, causal_mask(inside["q"], inside["k"]), lines[0], "may look (yellow)")
show_weights(right, inside["weights"][0, 0], lines[0], "looks: one head, trained")
for axes in (left, right):
    axes.set(ylabel="from", xlabel="to")
plt.show()

assert (inside["weights"].triu(1) == 0).all()
assert torch.allclose(inside["weights"].sum(-1), torch.ones(()))
own = inside["weights"].diagonal(dim1=-2, dim2=-1)[:, 0, 1:].mean()
print(f"from the second character on, a position gives itself {own:.0%} of its weight on average")
assert counted["bigram_loss"] < steps[-1][1] < steps[-2][1]
assert own > 1 / 3

# %% [markdown]
# Better than no block, since queries, keys and values are different maps of the same vector, and so
# in and out are no longer one. But it is still worse than the table: the head has one average to
# give, and it must carry the position's own character with it, or that character is lost. So a
# large part of the weight goes to the position itself, and less is left for looking around.
#
# ## 4. The residual stream
#
# So let a block not replace x but add to it: x + attention(x). What a position knows of itself
# passes by, and the head is free to fetch something else. The sum that runs through the model from
# the embedding to the head is called the *residual stream*.


# %%
class WithResidual(AttentionAlone):
    def forward(self, x, cache=None, mask=None):
        return x + self.attn(x, cache, mask)


added = train_step("+ residual stream", one_head, WithResidual)
assert steps[-1][1] < steps[-2][1]

# %% [markdown]
# ## 5. LayerNorm
#
# Attention multiplies x with x: its scores grow with the square of the vectors' length, and at the
# beginning the vectors are short. LayerNorm gives each vector mean 0 and variance 1, and then a
# learned gain and shift for each of the C numbers. GPT-2 norms the copy that a block reads and
# leaves the stream itself as it is. With it one head does better than the table of pairs, for the
# first time here.


# %%
class WithNorm(WithResidual):
    def __init__(self, config, layer):
        super().__init__(config, layer)
        self.ln_1 = nn.LayerNorm(config.n_embd)

    def forward(self, x, cache=None, mask=None):
        return x + self.attn(self.ln_1(x), cache, mask)


torch.manual_seed(SEED)
untrained = GPT2(one_head, block=WithNorm)
seen = outputs(untrained, tokens)
for name, text in ("drop", "the stream, untrained"), ("h.0.ln_1", "the normed copy"):
    print(f"{text}: numbers of size {seen[name].std():.3f}")
assert seen["h.0.ln_1"].std() > 10 * seen["drop"].std()

normed = train_step("+ LayerNorm", one_head, WithNorm)
assert steps[-1][1] < min(steps[-2][1], counted["bigram_loss"])

# %% [markdown]
# ## 6. Several heads
#
# One head has one set of weights for each position, so it fetches one mixture. Several heads share
# the C numbers among them, D = C / H each, and each looks where it wants. The number of parameters
# is the same, and the loss is lower.

# %%
several = train_step("+ several heads", shape, WithNorm)
assert steps[-1][2] == steps[-2][2] and steps[-1][1] < steps[-2][1]
inside = attention_inside(several, tokens)[0]
draw([("x", "B T C", seen["drop"])] + [(name, "B H T D", inside[name]) for name in "qkv"]
     + [("weights", "B H T T", inside["weights"])])  # fmt: skip

figure, row = plt.subplots(1, shape.n_head, figsize=(11, 3), layout="constrained")
for head, axes in enumerate(row):
    show_weights(axes, inside["weights"][0, head], lines[0], f"head {head}")
plt.show()

# %% [markdown]
# ## 7. The MLP: GPT-2's block
#
# Attention moves information between positions. What it brings is a weighted sum, and so, LayerNorm
# aside, the way from the values to the logits is linear. The MLP computes at each position by
# itself: up to four times the width, a GELU, and down again. It too reads a normed copy and adds to
# the stream.
#
# With it the block is complete; it is the package's own `Block`.

# %%
full = train_step("+ MLP: GPT-2's block", shape)
seen, inside = outputs(full, tokens), attention_inside(full, tokens)[0]
draw([("ln_1", "B T C", seen["h.0.ln_1"]), ("c_attn", "B T 3C", seen["h.0.attn.c_attn"]),
      ("weights", "B H T T", inside["weights"]), ("attn", "B T C", seen["h.0.attn"])])  # fmt: skip
draw([("ln_2", "B T C", seen["h.0.ln_2"]), ("c_fc", "B T 4C", seen["h.0.mlp.c_fc"]),
      ("mlp", "B T C", seen["h.0.mlp"]), ("x", "B T C", seen["h.0"])])  # fmt: skip
assert steps[-1][1] < steps[-2][1] and steps[-1][1] < counted["bigram_loss"] - 0.1

# %% [markdown]
# The model now uses more than one character of context and computes with what it finds.
#
# ## Which part matters?
#
# Adding parts in one order says little about each of them. So take the complete block and leave out
# one part at a time.


# %%
class NoAttention(Block):
    def forward(self, x, cache=None, mask=None):
        return x + self.mlp(self.ln_2(x))


class NoResidual(Block):
    def forward(self, x, cache=None, mask=None):
        return self.mlp(self.ln_2(self.attn(self.ln_1(x), cache, mask)))


class NoNorm(Block):
    def forward(self, x, cache=None, mask=None):
        x = x + self.attn(x, cache, mask)
        return x + self.mlp(x)


without = {"the whole block": steps[-1][1], "without MLP": steps[-2][1]}
for name, block in {
    "without attention": NoAttention,
    "without residual stream": NoResidual,
    "without LayerNorm": NoNorm,
}.items():
    torch.manual_seed(SEED)
    without[name] = fit(GPT2(shape, block=block))
for name, loss in without.items():
    print(f"{name:24} {loss:.3f}")
assert min(without, key=without.get) == "the whole block"
assert abs(without["without attention"] - counted["bigram_loss"]) < 0.05

# %% [markdown]
# Every part is needed, and none alone explains the result. Without attention the model sees one
# character only, and so it comes to the bigram and no further. That it comes so far is new: now
# that an MLP stands between the embedding and the tied head, pairs and reversed pairs are no longer
# alike.
#
# ## Causality, by gradient
#
# The mask is one line, and a mistake in it would not be noticed by its shapes: the model would just
# be surprisingly good in training and useless in writing. A gradient is a sharper test. The loss at
# one position is differentiated with respect to the vectors of all positions. At those that come
# later it has to be zero, not nearly but exactly.


# %%
def influence(model, ids):
    """Return how much the vector at each position moves the loss at each position: (T, T)."""
    streams = []

    def keep(part, given, output):
        output.retain_grad()
        streams.append(output)

    hook = model.drop.register_forward_hook(keep)
    rows = []
    for place in range(len(ids) - 1):
        logits = model(ids[None, :-1])[:, place : place + 1]
        cross_entropy(logits, ids[None, place + 1 : place + 2]).backward()
        rows.append(streams.pop().grad[0].norm(dim=-1))
    hook.remove()
    model.zero_grad()
    return torch.stack(rows)


sentence = "To be, or not to be"
moved = influence(full, torch.tensor(tokenizer.encode(sentence)))
assert (moved.triu(1) == 0).all() and (moved.diagonal() > 0).all()

figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
shares = moved / moved.sum(dim=1, keepdim=True)
show_weights(axes, shares, sentence[:-1], "share of the gradient")
axes.set(ylabel="the loss at", xlabel="moved by the vector at")
plt.show()

# %% [markdown]
# ## Depth
#
# A block reads the stream and adds to it, so blocks can be stacked: what one finds, the next can
# use. Two of them, and nothing else is changed. This is GPT-2; only the numbers are smaller.

# %%
deep_shape = replace(shape, n_layer=2)
torch.manual_seed(SEED)
before = GPT2(deep_shape)
deep = train_step("GPT-2 of two blocks", deep_shape)
print(f"the second block changes the loss by {steps[-1][1] - steps[-2][1]:+.3f}")
assert abs(steps[-1][1] - steps[-2][1]) < 0.1

# %% [markdown]
# The second block costs as much as the first and brings next to nothing. The model is small, its
# context is short, and it has only begun to learn what one block can do; five times as many steps
# do not change that. Depth is for larger models on more text: the released ones have 12 blocks and
# more. So this step shows that blocks can be stacked, not that it pays here.
#
# That they can be stacked at all is the residual stream's doing. Each block of attention averages
# over positions. If the average replaces what was there, all positions soon hold the same, and a
# model cannot tell which character it is at (Dong et al. 2021, "Attention is not all you need").
# Here are untrained models of one to six blocks: how alike are the vectors of neighbouring
# positions at the end?


# %%
def likeness_of_neighbours(config, block):
    """Return the mean cosine between neighbouring positions at the end of an untrained model."""
    torch.manual_seed(SEED)
    x = outputs(GPT2(config, block=block), tokens)[f"h.{config.n_layer - 1}"]
    return torch.cosine_similarity(x[:, 1:], x[:, :-1], dim=-1).mean().item()


depths = range(1, 7)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
alike = {}
for (name, block), colour in zip(
    {"GPT-2's block": Block, "without residual stream": NoResidual}.items(),
    (BLUE, ORANGE),
    strict=True,
):
    alike[block] = [likeness_of_neighbours(replace(shape, n_layer=n), block) for n in depths]
    axes.plot(depths, alike[block], "o-", color=colour, label=name)
axes.set(xlabel="blocks", ylabel="cosine of neighbours", ylim=(-0.1, 1.05))
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()
assert max(alike[Block]) < 0.6 and min(alike[NoResidual][1:]) > 0.9

torch.manual_seed(SEED)
two_without = fit(GPT2(replace(shape, n_layer=2), block=NoResidual))
print(f"two blocks without residual stream, trained: {two_without:.3f}")
assert two_without > counted["bigram_loss"] > without["without residual stream"]

# %% [markdown]
# Without the stream one block still learns, and two come to about what counting single characters
# gives. With it the second block does no harm: it may add nothing, and then all is as it was.
#
# ## It is GPT-2
#
# The names of the model's parameters are those of the released checkpoints. Here they are beside
# the ones of `transformers`, which keeps linear maps the other way round, (in, out).

# %%
with torch.device("meta"):  # shapes only, no numbers
    theirs = transformers.GPT2Model(
        transformers.GPT2Config(
            vocab_size=V, n_positions=shape.block_size, n_embd=shape.n_embd,
            n_layer=deep_shape.n_layer, n_head=shape.n_head, bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip
    released = GPT2(GPT2Config(vocab_size=50257))
ours = {name: tuple(value.shape) for name, value in deep.state_dict().items()}
rows = []
for name, value in theirs.state_dict().items():
    rows.append([name, ours[name], tuple(value.shape)])
    assert sorted(ours[name]) == sorted(value.shape)
assert ours.keys() == theirs.state_dict().keys()
table(
    ["name", "here", "in transformers"],
    [row for row in rows if not row[0].startswith("h.1.")],
)
size = sum(parameter.numel() for parameter in released.parameters())
print(f"\nwith the released numbers (12 blocks, 12 heads, C=768): {size:,} parameters")

# %% [markdown]
# ## Reading once: the cache
#
# When the model writes, each new character becomes part of the input of the next. The keys and
# values of the earlier ones do not change: by causality nothing later reaches them. So they are
# kept, and only the new token is computed. It has to give the same logits.

# %%
ids = torch.tensor([tokenizer.encode(sentence)])
cache = KVCache(deep_shape, batch_size=1)
deep.eval()
with torch.no_grad():
    whole = deep(ids)
    pieces = [deep(ids[:, place : place + 1], cache=cache) for place in range(ids.shape[1])]
draw([("all at once", "B T V", whole), ("one at a time", "B T V", pieces[-1]),
      ("kept: keys of a layer", "B H T D", cache.k[0])])  # fmt: skip
one_by_one = torch.cat(pieces, dim=1)
assert cache.length == ids.shape[1]
assert torch.allclose(whole, one_by_one, atol=1e-4)
print(f"logits of size {whole.std():.1f}, the two differ by {(whole - one_by_one).abs().max():.0e}")

# %% [markdown]
# ## What it writes
#
# The same model before training and after, from the same beginning and with the same random
# numbers. Before, its loss is about ln V: it knows nothing, and all characters are nearly equally
# likely.

# %%
start = evaluate(before, data.val).loss
assert abs(start - log(V)) < 0.2
for name, model, loss in ("before", before, start), ("after", deep, steps[-1][1]):
    written = "".join(generate(model, tokenizer, "ROMEO:\n", Sampling(300, seed=SEED)))
    print(f"--- {name}, loss {loss:.3f}\n{written}\n")

# %% [markdown]
# Lines, blanks and short words have come; sense has not. For that it takes a larger model and more
# than seconds of training.
#
# ## All steps

# %%
rows, last = [], None
for name, loss, parameters in steps:
    change = "" if last is None else f"{loss - last:+.3f}"
    rows.append([name, f"{loss:.3f}", change, f"{parameters:,}" if parameters else "none"])
    last = loss
table(["step", "loss", "change", "parameters"], rows)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4), layout="constrained", sharex=True, width_ratios=(3, 2)
)
colours = [BLUE if parameters else GREY for _, _, parameters in steps]
left.barh([name for name, _, _ in steps], [loss for _, loss, _ in steps], color=colours)
left.set_title("step by step (grey: counted)")
right.barh(list(without), list(without.values()), color=[BLUE] + [ORANGE] * 4)
right.set_title("one block, one part left out")
for axes in (left, right):
    axes.axvline(counted["bigram_loss"], color="black", linestyle=":")
    axes.invert_yaxis()
    axes.set(xlabel="nats a character; dotted: bigram")
plt.show()

# %% [markdown]
# What the table says:
#
# - Learning finds what a model can express. The trained table equals the counted one.
# - Not every step makes the loss lower. Vectors with a tied head are worse than the table until a
#   block stands between them; a second block changes next to nothing at this size.
# - No part does it alone. Attention without MLP, MLP without attention, and both without residual
#   stream or LayerNorm are all far from the whole block.
#
# These are single trainings of a few seconds, with one seed and one learning rate for all blocks.
# Differences of one or two hundredths would be chance; the ones the text speaks of are larger.
