"""The logit lens: what the model would say if it stopped after each layer.

The residual stream after every block is given to the final norm and the head, as if it were the
last (nostalgebraist 2020, "interpreting GPT: the logit lens"). Row 0 is the embedding, row l + 1
stands behind block l; the last row is the model's own answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt2.insight.record import Recording
from minigpt2.model import GPT2

LENS_NAMES = ("blocks.0.hook_resid_pre", "*.hook_resid_post")  # what must have been recorded


@dataclass(frozen=True)
class Lens:
    """The likeliest next tokens by layer and position, and how far each is from the end.

    `ids` and `probabilities` are (L + 1, T, k), likeliest first; `kl` (L + 1, T) is the divergence
    from the model's own distribution, in nats: KL(end || here).
    """

    ids: Tensor
    probabilities: Tensor
    kl: Tensor


def layer_logprobs(model: GPT2, recording: Recording) -> Iterator[Tensor]:
    """Yield the log-probabilities (T, V) of the first row of tokens, layer by layer."""
    yield _read(model, recording["resid_pre", 0])
    for layer in range(model.config.n_layer):
        yield _read(model, recording["resid_post", layer])


def lens(model: GPT2, recording: Recording, most: int = 5) -> Lens:
    """Look through the lens at the first row of tokens; `most` tokens of each place are told.

    One layer at a time: of 124M parameters a layer's answers take 200 kB a token.
    """
    end = recording.logits[0].log_softmax(dim=-1)
    tops, divergences = [], []
    for here in layer_logprobs(model, recording):
        tops.append(here.topk(min(most, here.shape[-1]), dim=-1))
        # Where the end has no probability left nothing is added: 0 * inf is meant to be 0.
        divergences.append((end.exp() * (end - here)).nan_to_num(0.0).sum(dim=-1))
    values = torch.stack([top.values for top in tops]).exp()
    return Lens(torch.stack([top.indices for top in tops]), values, torch.stack(divergences))


def rank_path(
    model: GPT2, recording: Recording, position: int, token: int
) -> tuple[Tensor, Tensor]:
    """Return a token's rank (1 is the likeliest) and probability by layer, (L + 1,) each."""
    rows = [here[position] for here in layer_logprobs(model, recording)]
    ranks = [1 + (row > row[token]).sum() for row in rows]
    return torch.stack(ranks), torch.stack([row[token] for row in rows]).exp()


def _read(model: GPT2, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits = model.head(model.ln_f(x[:1]), model.wte.weight)
    return logits[0].float().log_softmax(dim=-1)
