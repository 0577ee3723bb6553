"""The model without some of its parts: what they were good for.

An ablated part writes nothing into the residual stream ("zero"), or the mean of what it writes over
the positions of the text ("mean"), which keeps what it says regardless of where it is.
"""

import re
from collections.abc import Iterable
from typing import Literal

from torch import Tensor

from minigpt2.errors import UsageError
from minigpt2.insight.record import Edit, Recording, record
from minigpt2.model import GPT2

Replacement = Literal["zero", "mean"]
_PART = re.compile(r"L(\d{1,4})(?:H(\d{1,4})| (attention|MLP))?")


def ablate(
    model: GPT2,
    recording: Recording,
    parts: Iterable[str],
    replace: Replacement = "zero",
    names: Iterable[str] = ("*",),
) -> Recording:
    """Record the same tokens once more, without some parts.

    A part is a head ("L0H3"), all of a layer's attention with its bias ("L0 attention"), its MLP
    ("L0 MLP"), or both ("L0"). Raises UsageError for one that the model does not have.
    """
    edits: dict[str, Edit] = {}
    heads: dict[str, list[int]] = {}
    for part in parts:
        layer, head, kind = _understood(model, part)
        if head is not None:
            heads.setdefault(f"blocks.{layer}.attn.hook_z", []).append(head)
            continue
        for own, output in (("attention", "attn_out"), ("MLP", "mlp_out")):
            if kind in (None, own):
                edits[f"blocks.{layer}.hook_{output}"] = _without(replace)
    edits |= {name: _without(replace, chosen) for name, chosen in heads.items()}
    return record(model, recording.tokens, tuple(names), edits)


def _understood(model: GPT2, part: str) -> tuple[int, int | None, str | None]:
    found = _PART.fullmatch(part)
    layers, heads = model.config.n_layer, model.config.n_head
    if not found or int(found[1]) >= layers or int(found[2] or 0) >= heads:
        raise UsageError(
            f"{part[:40]!r} is no part of this model: L0 to L{layers - 1}, with H0 to H{heads - 1} "
            "for a head, or with attention or MLP behind a blank"
        )
    return int(found[1]), None if found[2] is None else int(found[2]), found[3]


def _without(replace: Replacement, heads: list[int] | None = None) -> Edit:
    """Return what silences a value (B, T, ...), or of one (B, T, H, D) these heads."""

    def edit(value: Tensor) -> Tensor:
        chosen = slice(None) if heads is None else heads
        part, edited = value[:, :, chosen], value.clone()
        edited[:, :, chosen] = 0 * part if replace == "zero" else part.mean(dim=1, keepdim=True)
        return edited

    return edit
