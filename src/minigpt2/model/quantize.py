"""Smaller weights for generation: bf16, or int8 with a scale a row, the head included.

One vector times a matrix takes as long as reading the matrix, so bytes are time. Activations are
bf16 in both; a weight in int8 is within half a step of 1/127 of its row's largest.

GPT-2's embedding vectors share a large common part, so that its logits lie near -100, where bf16
has steps of half a nat. Here the vectors are centred: the common part goes to the positions'
vectors on the way in, and is added to the logits in fp32 on the way out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minigpt2.model.gpt2 import GPT2

PRECISIONS = ("float32", "bfloat16", "int8")
# From so many vectors on a product is bound by arithmetic, and bf16 kernels do more of it.
_MANY = 64


def set_precision(model: nn.Module, precision: str) -> None:
    """Change a finished model, in place, to one of `PRECISIONS`; it can only generate then.

    Raises ValueError for another name. A model that is not GPT-2 has no int8 and takes bf16.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    if precision == "float32":
        return
    int8 = precision == "int8"
    if int8:
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.Linear:
                    setattr(parent, name, Int8Linear(child))
    if not isinstance(model, GPT2):
        model.to(torch.bfloat16)
        return
    common_C = model.wte.weight.detach().float().mean(dim=0)
    model.wte.weight = nn.Parameter(model.wte.weight.detach() - common_C)
    model.wpe.weight = nn.Parameter(model.wpe.weight.detach() + common_C)
    quantized = quantize(model.wte.weight) if int8 else None
    model.to(torch.bfloat16)
    model.head = CentredHead(common_C, quantized)


class CentredHead(nn.Module):
    """The tied head over centred vectors, or their int8 copy; its logits are fp32."""

    def __init__(self, common_C: Tensor, quantized: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        self.register_buffer("common", common_C)
        q_VC, scale_V = quantized or (None, None)
        self.register_buffer("weight", q_VC)
        self.register_buffer("scale", scale_V)

    def forward(self, x: Tensor, wte_VC: Tensor) -> Tensor:
        """Map the normed stream (B, T, C) and the embedding (V, C) to logits (B, T, V)."""
        if self.weight is None or self.scale is None:
            logits = F.linear(x, wte_VC)
        else:
            logits = int8_linear(x, self.weight, self.scale)
        return logits.float() + (x.float() @ self.common)[..., None]


def bytes_read(model: nn.Module) -> int:
    """Return how many bytes of weights a step of generation reads: all but what is looked up."""
    state = {name: value for name, value in model.state_dict().items() if name != "wpe.weight"}
    if "head.weight" in state:  # a copy of its own: of the embedding only a row is read
        del state["wte.weight"]
    return sum(value.numel() * value.element_size() for value in state.values())


def quantize(weight_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix as int8 (N, K) and the scale of each row, bf16 (N)."""
    weight_NK = weight_NK.detach().float()
    # Rounded to bf16 first: what is divided by is what will be multiplied with.
    scale_N = (weight_NK.abs().amax(dim=1).clamp(min=1e-12) / 127).bfloat16()
    q_NK = (weight_NK / scale_N.float()[:, None]).round_().clamp_(-127, 127)
    return q_NK.to(torch.int8), scale_N


def int8_linear(x: Tensor, q_NK: Tensor, scale_N: Tensor) -> Tensor:
    """Multiply (..., K) in bf16 with a quantized matrix, to (..., N)."""
    rows_MK = x.flatten(0, -2)
    # The kernel reads 16 columns at a time, past the end of rows of any other length.
    packs = x.device.type == "cpu" and x.shape[-1] % 16 == 0
    if packs and 0 < len(rows_MK) < _MANY:
        y_MN = torch._weight_int8pack_mm(rows_MK.contiguous(), q_NK, scale_N)
    elif len(rows_MK):
        y_MN = F.linear(rows_MK, q_NK.to(x.dtype)) * scale_N
    else:
        y_MN = rows_MK.new_empty(0, len(q_NK))
    return y_MN.view(*x.shape[:-1], len(q_NK))


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8; the bias stays."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        q_NK, scale_N = quantize(linear.weight)
        self.register_buffer("weight", q_NK)
        self.register_buffer("scale", scale_N)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., K) to (..., N)."""
        y = int8_linear(x, self.weight, self.scale)
        return y if self.bias is None else y + self.bias
