"""What a recording says: the heads in numbers, the logit lens, and who gave what to a decision.

Heads: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022,
"In-context Learning and Induction Heads" (arXiv 2209.11895).

The logit lens is what the model would say if it stopped after each layer: the residual stream after
every block is given to the final norm and the head, as if it were the last (nostalgebraist 2020,
"interpreting GPT: the logit lens"). Row 0 is the embedding, row l + 1 stands behind block l; the
last row is the model's own answer.

The residual stream is a sum of what the parts wrote into it. With the final norm's divisor held at
its value, the way from there to a logit is linear, so the difference of two logits falls apart into
one number for each part (Elhage et al. 2021; "direct logit attribution").
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt2.insight.record import Recording, check_ids, record
from minigpt2.model import GPT2

_Whose = tuple[str, int | None, int | None]  # name, layer, head
# What must have been recorded for each.
PATTERNS = ("*.hook_pattern",)
LENS_NAMES = ("blocks.0.hook_resid_pre", "*.hook_resid_post")
CONTRIBUTIONS_NAMES = ("hook_*embed", "*.hook_result", "*.hook_*_out", "ln_final.hook_scale")


@dataclass(frozen=True)
class HeadScores:
    """How much each head looks at three places, (L, H) each, from 0 to 1; NaN without a case.

    `previous`: the token before; `first`: the first token (both over positions from 1 on);
    `induction`: the tokens that followed earlier copies of the token at hand, over the positions
    that have such before them.
    """

    previous: Tensor
    first: Tensor
    induction: Tensor


def patterns(recording: Recording) -> Tensor:
    """Return all attention patterns of the first row of tokens, (L, H, T, T)."""
    return torch.stack([recording["pattern", layer][0] for layer in range(recording.layers)])


def head_scores(recording: Recording) -> HeadScores:
    """Return how much each head looks at the places that are known to matter."""
    seen, tokens = patterns(recording).float(), recording.tokens[0]
    T = len(tokens)
    previous = seen.diagonal(offset=-1, dim1=2, dim2=3).mean(dim=-1)
    first = seen[:, :, 1:, 0].mean(dim=-1)
    # after[t, s]: the token before s equals the one at t, and lies before it.
    after = torch.zeros(T, T, dtype=torch.bool, device=tokens.device)
    after[:, 1:] = tokens[:, None] == tokens[None, :-1]
    after &= torch.ones_like(after).tril(-1)  # a successor is itself in the past
    induction = (seen * after).sum(dim=-1)[:, :, after.any(dim=-1)].mean(dim=-1)
    return HeadScores(previous, first, induction)


def induction_scores(
    model: GPT2, length: int | None = None, rows: int = 16, seed: int = 0
) -> Tensor:
    """Return each head's induction score (L, H) on random tokens repeated once: Olsson's test.

    `length` tokens, by default half the window up to 50, are drawn uniformly and stand twice; only
    the second half counts, where nothing but the copy tells what comes.
    """
    half = length or min(50, model.config.block_size // 2)
    generator = torch.Generator().manual_seed(seed)
    once = torch.randint(model.config.vocab_size, (rows, half), generator=generator)
    recording = record(model, torch.cat([once, once], dim=1), PATTERNS)
    layers = range(model.config.n_layer)
    # Position half + t looks at the successor of its copy, t + 1.
    copies = [recording["pattern", layer].diagonal(1 - half, 2, 3)[:, :, 1:] for layer in layers]
    return torch.stack([copy.mean(dim=(0, 2)) for copy in copies])


@dataclass(frozen=True)
class Lens:
    """The likeliest next tokens by layer and position, and how far each is from the end.

    `ids` and `probabilities` are (L + 1, T, k), likeliest first; `kl` (L + 1, T) is the divergence
    from the model's own distribution, in nats: KL(end || here).
    """

    ids: Tensor
    probabilities: Tensor
    kl: Tensor


def layer_logprobs(
    model: GPT2, recording: Recording, size: int | None, places: slice | list[int] = slice(None)
) -> Iterator[Tensor]:
    """Yield the log-probabilities (T, V) at places of the first row of tokens, layer by layer.

    Of a vocabulary that is padded the first `size` ids count.
    """
    stream = [recording["resid_pre", 0]]
    stream += [recording["resid_post", layer] for layer in range(model.config.n_layer)]
    for x in stream:
        with torch.no_grad():
            logits = model.head(model.ln_f(x[:1, places]), model.wte.weight)
        yield logits[0, :, :size].float().log_softmax(dim=-1)


def lens(model: GPT2, recording: Recording, most: int = 5, vocab_size: int | None = None) -> Lens:
    """Look through the lens at the first row of tokens; `most` tokens of each place are told.

    `vocab_size` is the tokenizer's, where the model's is padded. One layer at a time: of 124M
    parameters a layer's answers take 200 kB a token.
    """
    end = recording.logits[0, :, :vocab_size].log_softmax(dim=-1)
    tops, divergences = [], []
    for here in layer_logprobs(model, recording, vocab_size):
        tops.append(here.topk(min(most, here.shape[-1]), dim=-1))
        # Where the end has no probability left nothing is added: 0 * inf is meant to be 0.
        divergences.append((end.exp() * (end - here)).nan_to_num(0.0).sum(dim=-1))
    values = torch.stack([top.values for top in tops]).exp()
    return Lens(torch.stack([top.indices for top in tops]), values, torch.stack(divergences))


def rank_path(
    model: GPT2, recording: Recording, position: int, token: int, vocab_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return a token's rank (1 is the likeliest) and probability by layer, (L + 1,) each.

    Raises UsageError for a token that is not there.
    """
    check_ids([token], vocab_size or model.config.vocab_size)
    # Of one place alone: the head is dear.
    rows = [here[0] for here in layer_logprobs(model, recording, vocab_size, [position])]
    ranks = [1 + (row > row[token]).sum() for row in rows]
    return torch.stack(ranks), torch.stack([row[token] for row in rows]).exp()


@dataclass(frozen=True)
class Contribution:
    """What one part gave, in logits; `layer` and `head` are None for a part of none."""

    name: str
    layer: int | None
    head: int | None
    value: float


def contributions(
    model: GPT2, recording: Recording, position: int, a: int, b: int
) -> list[Contribution]:
    """Return what the parts gave to logit(a) - logit(b) at a position of the first row.

    They sum to the difference: embedding, position, every head, the bias behind a layer's heads,
    every MLP, and the final norm's bias. Computed in double precision from what was recorded
    without edits: an edited value is not what the parts before it wrote. Raises UsageError for a
    token that is not there.
    """
    check_ids([a, b], model.config.vocab_size)
    scale = recording["ln_final.hook_scale"][0, position].double()
    weight, bias = model.ln_f.weight.double(), model.ln_f.bias.double()
    direction = (model.wte.weight[a] - model.wte.weight[b]).detach().double()

    def effect(part_C: Tensor) -> float:
        part_C = part_C.double()
        return float(((part_C - part_C.mean()) / scale * weight).detach() @ direction)

    told = [Contribution(*whose, effect(part_C)) for whose, part_C in _parts(recording, position)]
    return [*told, Contribution("final bias", None, None, float(bias.detach() @ direction))]


def _parts(recording: Recording, position: int) -> Iterator[tuple[_Whose, Tensor]]:
    """Yield what each part wrote into the stream at a position, and whose it is."""
    yield ("embed", None, None), recording["hook_embed"][0, position]
    yield ("pos_embed", None, None), recording["hook_pos_embed"][0, position]
    for layer in range(recording.layers):
        heads_HC = recording["result", layer][0, position]
        for head, head_C in enumerate(heads_HC):
            yield (f"L{layer}H{head}", layer, head), head_C
        out_C = recording["attn_out", layer][0, position]
        yield (f"L{layer} bias", layer, None), out_C - heads_HC.sum(dim=0)
        yield (f"L{layer} MLP", layer, None), recording["mlp_out", layer][0, position]
