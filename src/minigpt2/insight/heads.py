"""What the heads of a model look at, in three numbers each.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022,
"In-context Learning and Induction Heads" (arXiv 2209.11895).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt2.insight.record import Recording, record
from minigpt2.model import GPT2

PATTERNS = ("*.hook_pattern",)  # what must have been recorded


@dataclass(frozen=True)
class HeadScores:
    """How much each head looks at three places, (L, H) each, from 0 to 1; NaN without a case.

    `previous`: the token before; `first`: the first token (both over positions from 1 on);
    `induction`: the tokens that followed earlier copies of the token at hand, over the positions
    that have such.
    """

    previous: Tensor
    first: Tensor
    induction: Tensor


def patterns(recording: Recording) -> Tensor:
    """Return all attention patterns of the first row of tokens, (L, H, T, T)."""
    layers = sum(name.endswith("attn.hook_pattern") for name in recording)
    return torch.stack([recording["pattern", layer][0] for layer in range(layers)])


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
