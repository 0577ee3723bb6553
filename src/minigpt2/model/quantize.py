"""Smaller weights for generation: bf16, or int8 with a scale a row, the head included.

One vector times a matrix takes as long as reading the matrix, so bytes are time. In int8 a weight
is within half a step of 1/127 of its row's largest; what is multiplied with it is bf16 (in the
head two bytes), whatever else is in the batch, and all between the matrices stays in fp32.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minigpt2.model.gpt2 import GPT2

PRECISIONS = ("float32", "bfloat16", "int8")
# Activations as two bytes of 7 bits: a product of 8 by 8 bits, added in pairs, would overflow the
# 16 bits that processors without VNNI add in.
_HIGH, _LOW = 63, 126
_WIDE = 16_384  # rows of a matrix from which splitting a vector in two bytes costs nothing
# From so many vectors on a product is bound by arithmetic, and fp32 kernels do more of it.
_MANY = 64


def set_precision(model: nn.Module, precision: str) -> None:
    """Change a finished model, in place and where it lies, to one of `PRECISIONS`.

    It can only generate then. Raises ValueError for another name. Of a model that is not GPT-2
    the linear layers change, and its own head stays.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    if precision == "float32":
        return
    head = _centre(model) if precision == "bfloat16" and isinstance(model, GPT2) else None
    if precision == "bfloat16":
        model.to(torch.bfloat16)
    kind = Bf16Linear if precision == "bfloat16" else Int8Linear
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, kind(child.weight, child.bias))
    if isinstance(model, GPT2):
        model.head = head or Int8Linear(model.wte.weight)


def _centre(model: GPT2) -> "CentredHead":
    """Take the part that all embeddings share out of them; return the head that knows it."""
    common_C = model.wte.weight.detach().float().mean(dim=0)
    model.wte.weight = nn.Parameter(model.wte.weight.detach() - common_C)
    model.wpe.weight = nn.Parameter(model.wpe.weight.detach() + common_C)
    return CentredHead(model.wte.weight, common_C)


class CentredHead(nn.Module):
    """The tied head in bf16 over centred embeddings; its logits are fp32.

    GPT-2's embeddings share a large part, so that its logits lie near -100, where bf16 has steps
    of half a nat. That part goes to the positions on the way in, and is added here in fp32.
    """

    def __init__(self, wte_VC: Tensor, common_C: Tensor) -> None:
        super().__init__()
        self.centred = Bf16Linear(wte_VC)
        self.register_buffer("common", common_C)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        """Map the normed stream (B, T, C) to logits (B, T, V)."""
        return self.centred(x).float() + (x.float() @ self.common)[..., None]


class Bf16Linear(nn.Module):
    """A linear layer, or a head, whose weight is bf16, laid out as oneDNN likes it where it is."""

    def __init__(self, weight_NK: Tensor, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        weight_NK = weight_NK.detach().to(torch.bfloat16).contiguous()
        self._size, self.bias = len(weight_NK), bias
        self._packed = weight_NK.device.type == "cpu" and _onednn()
        if self._packed:
            weight_NK = torch.ops.mkldnn._reorder_linear_weight(weight_NK, 1)
        self.register_buffer("weight", weight_NK)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., K) to (..., N)."""
        if not x.numel():
            return x.new_empty(*x.shape[:-1], self._size)
        if not self._packed:
            return F.linear(x, self.weight, self.bias)
        product = torch.ops.mkldnn._linear_pointwise
        return product(x, self.weight, self.bias, "none", [], "")


class Int8Linear(nn.Module):
    """A linear layer, or a head, whose weight is int8; fp32 in, fp32 out."""

    def __init__(self, weight_NK: Tensor, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        q_NK, scale_N = quantize(weight_NK)
        self.register_buffer("weight", q_NK)
        self.register_buffer("scale", scale_N)
        self.bias = bias
        on_cpu = q_NK.device.type == "cpu"
        # Torch's kernel reads 16 columns at a time, past the end of rows of other lengths.
        self._direct = on_cpu and q_NK.shape[1] % 16 == 0
        wide = on_cpu and len(q_NK) >= _WIDE and _onednn()
        self._packed = _pack(q_NK) if wide else None

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """Map (..., K) to (..., N)."""
        rows_MK, size = x.flatten(0, -2), len(self.weight)
        if not len(rows_MK):
            y_MN = x.new_empty(0, size)
        elif self._packed is not None:
            y_MN = _product(rows_MK, self._packed, self.scale)
        elif self._direct and len(rows_MK) < _MANY:
            scale_N = self.scale.bfloat16()
            y_MN = torch._weight_int8pack_mm(rows_MK.bfloat16(), self.weight, scale_N).float()
        else:
            rows_MK = rows_MK.bfloat16().to(x.dtype)  # what the other kernel would have seen
            y_MN = F.linear(rows_MK, self.weight.to(x.dtype)) * self.scale
        y_MN = y_MN if self.bias is None else y_MN + self.bias
        return y_MN.view(*x.shape[:-1], size)


def quantize(weight_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix as int8 (N, K) and the scale of each row, fp32 (N)."""
    weight_NK = weight_NK.detach().float().contiguous()  # a file's pages may lie transposed
    # Rounded to bf16, in which one kernel takes it, and before it divides.
    scale_N = (weight_NK.abs().amax(dim=1).clamp(min=1e-12) / 127).bfloat16().float()
    return (weight_NK / scale_N[:, None]).round_().clamp_(-127, 127).to(torch.int8), scale_N


def _product(x_MK: Tensor, packed: Tensor, scale_N: Tensor) -> Tensor:
    """Multiply fp32 rows with a packed int8 matrix: the high and the low byte of each in turn.

    Every row has a scale of its own, so it does not matter which others are there.
    """
    scale_M1 = x_MK.abs().amax(dim=1, keepdim=True).clamp_(min=1e-30).mul_(1 / _HIGH)
    x_MK = x_MK / scale_M1
    high_MK = x_MK.round()
    low_MK = (x_MK - high_MK).mul_(_LOW).round_()
    bytes_2MK = torch.cat((high_MK, low_MK)).add_(64).to(torch.uint8)
    y_2MN = torch.ops.onednn.qlinear_pointwise(
        bytes_2MK, 1.0, 64, packed, scale_N, torch.zeros(len(scale_N), dtype=torch.int32),
        None, 1.0, 0, torch.float32, "none", [], "",
    )  # fmt: skip
    high_MN, low_MN = y_2MN.chunk(2)
    return torch.add(high_MN, low_MN, alpha=1 / _LOW).mul_(scale_M1)


def _pack(q_NK: Tensor) -> Tensor:
    return torch.ops.onednn.qlinear_prepack(q_NK, None)


@cache
def _onednn() -> bool:
    """Say whether torch has oneDNN's products here, and they are right."""
    x_MK = torch.linspace(-1, 1, 96).view(3, 32)
    q_NK = torch.arange(-80, 80).view(5, 32).to(torch.int8)
    try:
        got_MN = _product(x_MK, _pack(q_NK), torch.ones(5))
        packed = torch.ops.mkldnn._reorder_linear_weight(q_NK.bfloat16(), 1)
        product = torch.ops.mkldnn._linear_pointwise
        halved_MN = product(x_MK.bfloat16(), packed, None, "none", [], "").float()
    except (RuntimeError, AttributeError):  # an operator not there, or not for this processor
        return False
    wanted_MN = x_MK @ q_NK.float().T
    near = torch.allclose(halved_MN, wanted_MN, atol=5, rtol=0.02)
    return near and torch.allclose(got_MN, wanted_MN, atol=0.05)


def bytes_read(model: nn.Module) -> int:
    """Return how many bytes of weights a step of generation reads: all but what is looked up."""
    state = model.state_dict()
    if isinstance(model, GPT2):
        del state["wpe.weight"]
        if any(name.startswith("head.") for name in state):  # of the embedding a row is read
            del state["wte.weight"]
    return sum(value.numel() * value.element_size() for value in state.values())
