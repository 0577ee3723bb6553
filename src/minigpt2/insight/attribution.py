"""What every part of the model gave to one decision: contributions to a difference of logits.

The residual stream is a sum of what the parts wrote into it. With the final norm's divisor held at
its value, the way from there to a logit is linear, so the difference of two logits falls apart into
one number for each part (Elhage et al. 2021; "direct logit attribution").
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from minigpt2.insight.record import Recording
from minigpt2.model import GPT2

# What must have been recorded.
CONTRIBUTIONS_NAMES = (
    "hook_embed", "hook_pos_embed", "*.hook_result", "*.hook_mlp_out", "*.hook_attn_out",
    "ln_final.hook_scale",
)  # fmt: skip


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
    every MLP, and the final norm's bias. Computed in double precision from what was recorded.
    """
    scale = recording["ln_final.hook_scale"][0, position].double()
    weight, bias = model.ln_f.weight.double(), model.ln_f.bias.double()
    direction = (model.wte.weight[a] - model.wte.weight[b]).detach().double()

    def effect(part_C: Tensor) -> float:
        part_C = part_C.double()
        normed_C = (part_C - part_C.mean()) / scale * weight
        return float(normed_C.detach() @ direction)

    told = [
        Contribution(name, layer, head, effect(part_C))
        for name, layer, head, part_C in _parts(recording, position, model.config.n_layer)
    ]
    return [*told, Contribution("final bias", None, None, float(bias.detach() @ direction))]


def _parts(
    recording: Recording, position: int, layers: int
) -> Iterator[tuple[str, int | None, int | None, Tensor]]:
    """Yield what each part wrote into the stream at a position, with its name, layer and head."""
    yield "embed", None, None, recording["hook_embed"][0, position]
    yield "pos_embed", None, None, recording["hook_pos_embed"][0, position]
    for layer in range(layers):
        heads_HC = recording["result", layer][0, position]
        for head, head_C in enumerate(heads_HC):
            yield f"L{layer}H{head}", layer, head, head_C
        out_C = recording["attn_out", layer][0, position]
        yield f"L{layer} bias", layer, None, out_C - heads_HC.sum(dim=0)
        yield f"L{layer} MLP", layer, None, recording["mlp_out", layer][0, position]
