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
# # Looking inside
#
# `minigpt2.insight` records one pass of a model from outside and reads what happened in it. What
# the page of `minigpt2 serve` draws is made of the same functions. Here they are on the small model
# that comes with the package; any GPT-2 opens the same way, `from_pretrained("gpt2")` too.
#
# Values have the names that TransformerLens gave them, so what you know from there holds here.

# %%
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the network
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # threads that wait leave the cores to others

import matplotlib.pyplot as plt
import torch

from minigpt2 import from_pretrained, insight
from minigpt2.interop.opening import PRETRAINED

plt.rcParams["figure.dpi"] = 80

model, tokenizer = from_pretrained(PRETRAINED)
text = "ROMEO:\nO Romeo, Romeo! wherefore art thou Romeo?"
ids = tokenizer.encode(text)
tokens = [tokenizer.decode([token_id]) for token_id in ids]
print(len(ids), "tokens:", "|".join(tokens).replace("\n", "⏎"))

# %% [markdown]
# ## One pass, with everything in it kept

# %%
recording = insight.record(model, ids)
for name in list(recording)[:20]:
    print(f"{name:32} {tuple(recording[name].shape)}")
print(len(recording), "values in all")

# %% [markdown]
# Recording changes nothing: attention is computed as the paper writes it, which equals the fast
# kernel but for rounding. And what was recorded adds up. The residual stream behind a block is what
# was before it, and what attention and MLP wrote:

# %%
with torch.no_grad():
    print(
        "logits differ by at most",
        f"{(recording.logits - model(recording.tokens)).abs().max():.1e}",
    )
written = recording["resid_pre", 2] + recording["attn_out", 2] + recording["mlp_out", 2]
print("streams differ by at most", f"{(written - recording['resid_post', 2]).abs().max():.1e}")

# %% [markdown]
# ## Who looks where
#
# Row: the token that looks; column: the token it looks at. Nothing looks ahead.

# %%
scores = insight.head_scores(recording)
layer, head = divmod(int(scores.previous.argmax()), model.config.n_head)
pattern = recording["pattern", layer][0, head]
figure, axes = plt.subplots(figsize=(6, 6))
axes.imshow(pattern, cmap="Blues", vmin=0, vmax=1)
shown = [token.replace("\n", "⏎") for token in tokens]
axes.set_xticks(range(len(ids)), shown, rotation=90, fontsize=7)
axes.set_yticks(range(len(ids)), shown, fontsize=7)
axes.set_title(
    f"L{layer}H{head}: {scores.previous[layer, head]:.2f} of its attention at the token before"
)
plt.show()

# %% [markdown]
# Three numbers for each head: how much it looks at the token before, at the first token, and at
# what followed earlier copies of the token at hand. The last is what an induction head does.

# %%
for name, values in vars(scores).items():
    print(
        f"{name:10}",
        " ".join(f"L{i}H{values[i].argmax()} {values[i].max():.2f}  " for i in range(4)),
    )

# %% [markdown]
# A text of one's own may suggest an induction head where there is none. The test that cannot be
# passed by knowing the language takes random tokens, twice. This small model does not pass it.

# %%
print(f"largest induction score on random repeats: {insight.induction_scores(model).max():.3f}")

# %% [markdown]
# ## The logit lens
#
# What would the model say next if it stopped after each layer?

# %%
seen = insight.lens(model, recording)
for position in (7, 12, len(ids) - 1):
    said = [tokenizer.decode([token_id]) for token_id in seen.ids[:, position, 0].tolist()]
    distance = [f"{kl:.2f}" for kl in seen.kl[:, position].tolist()]
    print(f"after {tokens[position]!r:10} says {said}, nats from the end: {distance}")

# %% [markdown]
# ## Which parts decided
#
# The stream is a sum, so the difference of two logits falls apart into what each part gave.

# %%
a, b = recording.logits[0, -1].topk(2).indices.tolist()
parts = insight.contributions(model, recording, len(ids) - 1, a, b)
print(f"{tokenizer.decode([a])!r} over {tokenizer.decode([b])!r}")
for part in sorted(parts, key=lambda part: -abs(part.value))[:8]:
    print(f"{part.name:12} {part.value:+.3f}")
total = sum(part.value for part in parts)
difference = float(recording.logits[0, -1, a] - recording.logits[0, -1, b])
print(f"the parts sum to {total:.4f}, the logits differ by {difference:.4f}")

# %% [markdown]
# ## Without a part
#
# What a part gives and what the model loses without it are two things: others may make up for it.


# %%
def loss(recording):
    """The mean loss of the text's own tokens, in nats."""
    logprobs = recording.logits[0, :-1].log_softmax(-1)
    return -logprobs.gather(1, recording.tokens[0, 1:, None]).mean().item()


print(f"whole             {loss(recording):.3f}")
for part in (f"L{layer}H{head}", "L0 attention", "L0 MLP", "L3 MLP"):
    print(f"without {part:12}", f"{loss(insight.ablate(model, recording, [part])):.3f}")

# %% [markdown]
# Any value can be changed on its way. Here the heads of the first layer look at nothing but the
# token itself:

# %%
itself = insight.record(
    model, ids, edits={"blocks.0.attn.hook_pattern": lambda p: torch.eye(p.shape[-1]).expand_as(p)}
)
print(f"when layer 0 looks at nothing else: {loss(itself):.3f}")
