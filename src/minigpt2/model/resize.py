"""Other sizes for a finished model: more or fewer positions, more tokens, parts that stay.

Each function changes the model in place, from outside, before it is trained on.
"""

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minigpt2.model.gpt2 import GPT2, CausalSelfAttention


def resize_positions(model: GPT2, block_size: int) -> None:
    """Give `model` another longest context: cropped, or interpolated between learned positions.

    The first and the last position keep their vectors when there come to be more; the model has to
    be trained a little before it is good at the new length.
    """
    old_TC = model.wpe.weight.detach()
    if block_size <= len(old_TC):
        new_TC = old_TC[:block_size].clone()
    else:
        stretched = F.interpolate(
            old_TC.t()[None], size=block_size, mode="linear", align_corners=len(old_TC) > 1
        )
        new_TC = stretched[0].t().contiguous()
    model.wpe = nn.Embedding.from_pretrained(new_TC, freeze=False)
    model.config = replace(model.config, block_size=block_size)


def grow_vocabulary(model: GPT2, vocab_size: int) -> None:
    """Add rows to the embedding, which is the head as well; each new one is the mean of the old.

    The mean gives a token that was never seen the average logit, where a random row could win
    (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models").
    """
    old_VC = model.wte.weight.detach()
    rows = old_VC.mean(dim=0).expand(vocab_size - len(old_VC), -1)
    model.wte = nn.Embedding.from_pretrained(torch.cat([old_VC, rows]), freeze=False)
    model.config = replace(model.config, vocab_size=vocab_size)


def set_dropout(model: GPT2, probability: float) -> None:
    """Give every part of `model` this probability of dropping an activation."""
    for part in model.modules():
        if isinstance(part, CausalSelfAttention):
            part.dropout = probability
        elif isinstance(part, nn.Dropout):
            part.p = probability
    model.config = replace(model.config, dropout=probability)


def freeze(model: nn.Module, patterns: Iterable[str]) -> int:
    """Keep the parameters that a pattern names as they are; return how many numbers that are.

    A pattern is a name with `*` and `?`, or the beginning of one up to a dot: "wte", "h.0",
    "h.*.mlp". Raises ValueError for one that names nothing, and when nothing is left to train.
    """
    frozen: dict[str, Tensor] = {}
    for pattern in patterns:
        named = {
            name: parameter
            for name, parameter in model.named_parameters()
            if fnmatchcase(name, pattern) or fnmatchcase(name, pattern + ".*")
        }
        if not named:
            raise ValueError(f"no parameter is called {pattern!r}; for example wte, wpe, h.0.mlp")
        frozen |= named
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("every parameter is frozen; nothing is left to train")
    return sum(parameter.numel() for parameter in frozen.values())
