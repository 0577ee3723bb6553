"""From logits to the next id, in the order of `transformers`.

First what the text so far changes (bias, penalties, bans), then what is left to choose from
(temperature, top-k, top-p, min-p, typical-p), then the draw. Everything is a pure function: nothing
is kept from token to token.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from minigpt2.sampling import Sampling

_COLDEST = 1e-5  # below it the division overflows and the likeliest token is certain anyway
# A draw stays below 1 by more than a sum of doubles is rounded, so it never falls behind the end.
_BELOW_ONE = 1 - 2.0**-40


def adjust_logits(
    logits_V: Tensor, sampling: Sampling, prompt: Sequence[int], output: Sequence[int],
    stop_ids: Sequence[int],
) -> Tensor:  # fmt: skip
    """Return one row's logits after bias, penalties and bans.

    `output` is what was generated after `prompt`; `stop_ids` are not to be chosen before
    `min_new_tokens`. The repetition penalty is Keskar et al. 2019 (arXiv 1909.05858), 4.1.
    """
    logits_V = logits_V.clone()
    if sampling.logit_bias:
        ids, values = zip(*sampling.logit_bias, strict=True)
        places = torch.tensor(ids, device=logits_V.device)
        logits_V.index_add_(0, places, logits_V.new_tensor(values))
    if sampling.repetition_penalty != 1:
        seen = torch.tensor([*prompt, *output], device=logits_V.device).unique()
        old = logits_V[seen]
        penalty = sampling.repetition_penalty
        logits_V[seen] = torch.where(old < 0, old * penalty, old / penalty)
    if output and (sampling.presence_penalty or sampling.frequency_penalty):
        seen, counts = torch.tensor(output, device=logits_V.device).unique(return_counts=True)
        logits_V[seen] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    banned = [*sampling.banned_ids, *(stop_ids if len(output) < sampling.min_new_tokens else ())]
    if banned:
        logits_V[banned] = -math.inf
    return logits_V


def adjusts(sampling: Sampling) -> bool:
    """Say whether `adjust_logits` can change anything."""
    s = sampling
    penalised = s.repetition_penalty != 1 or s.presence_penalty or s.frequency_penalty
    return bool(penalised or s.logit_bias or s.banned_ids or s.min_new_tokens)


def filter_logits(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """Return the logits that the sample is drawn from, (B, V), excluded tokens at -inf.

    top-p: Holtzman et al. 2019 (arXiv 1904.09751); min-p: Nguyen et al. 2024 (2407.01082);
    typical-p: Meister et al. 2022 (2202.00666).
    """
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits_BV.shape[1]:
        least = logits_BV.topk(sampling.top_k, dim=1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least, -math.inf)
    if sampling.top_p is not None and sampling.top_p < 1:
        ascending, order = logits_BV.sort(dim=1)
        # A token goes when it and all less likely ones hold at most 1 - p together.
        outside = ascending.softmax(dim=1).cumsum(dim=1) <= 1 - sampling.top_p
        outside[:, -1] = False
        logits_BV = logits_BV.masked_fill(outside.scatter(1, order, outside), -math.inf)
    if sampling.min_p:
        probabilities_BV = logits_BV.softmax(dim=1)
        least = sampling.min_p * probabilities_BV.amax(dim=1, keepdim=True)
        logits_BV = logits_BV.masked_fill(probabilities_BV < least, -math.inf)
    if sampling.typical_p is not None and sampling.typical_p < 1:
        logits_BV = logits_BV.masked_fill(_untypical(logits_BV, sampling.typical_p), -math.inf)
    return logits_BV


def _untypical(logits_BV: Tensor, mass: float) -> Tensor:
    """Say which tokens lie further from the expected surprise than those that hold `mass`."""
    logprobs_BV = logits_BV.log_softmax(dim=1)
    entropy_B1 = -(logprobs_BV * logprobs_BV.exp()).nansum(dim=1, keepdim=True)  # 0 * -inf is 0
    distances_BV = (-logprobs_BV - entropy_B1).abs()
    ascending, order = distances_BV.sort(dim=1)
    short = logprobs_BV.exp().gather(1, order).cumsum(dim=1) < mass
    last = short.sum(dim=1, keepdim=True).clamp(max=logits_BV.shape[1] - 1)
    return distances_BV > ascending.gather(1, last)


def choose(
    logits_BV: Tensor, samplings: Sequence[Sampling], generators: Sequence[torch.Generator]
) -> list[int]:
    """Draw one id a row, each by its own settings and from its own generator.

    Rows with like settings are filtered together, so a batch of one kind costs few calls.
    """
    alike: dict[tuple, list[int]] = {}
    for row, s in enumerate(samplings):
        filters = (s.temperature, s.top_k, s.top_p, s.min_p, s.typical_p)
        alike.setdefault(filters, []).append(row)
    chosen = [0] * len(samplings)
    for rows in alike.values():
        logits = logits_BV if len(rows) == len(samplings) else logits_BV[rows]
        ids = _choose_alike(logits, samplings[rows[0]], [generators[row] for row in rows])
        for row, token_id in zip(rows, ids.tolist(), strict=True):
            chosen[row] = token_id
    return chosen


def _choose_alike(
    logits_BV: Tensor, sampling: Sampling, generators: list[torch.Generator]
) -> Tensor:
    if sampling.temperature < _COLDEST:
        return logits_BV.argmax(dim=1)
    sums_BV = filter_logits(logits_BV, sampling).softmax(dim=1).double().cumsum(dim=1)
    drawn = [torch.rand(1, generator=g, device=g.device, dtype=torch.float64) for g in generators]
    draws_B1 = torch.stack(drawn).to(sums_BV.device).clamp(max=_BELOW_ONE)
    # The first token whose sum is above the draw: one of probability 0 adds nothing to its sum.
    return torch.searchsorted(sums_BV, draws_B1 * sums_BV[:, -1:], right=True)[:, 0]
