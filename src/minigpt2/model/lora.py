"""LoRA: small trained corrections beside frozen linear maps, put on a finished model from outside.

Hu et al. 2021 (arXiv 2106.09685): y = x W + (alpha / rank) * (x A) B, where W stays and only A and
B, of the given rank, are trained. B starts at zero, so nothing changes at first. Names of
parameters stay what they were; the new ones are `lora_A` and `lora_B` beside them, as in PEFT.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

Model = TypeVar("Model", bound=nn.Module)


class LoRALinear(nn.Linear):
    """A linear map with a correction of low rank; weight and bias are the given layer's own."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.rank, self.alpha, self.scaling = rank, alpha, alpha / rank
        place = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_A = nn.Linear(self.in_features, rank, bias=False, **place)
        self.lora_B = nn.Linear(rank, self.out_features, bias=False, **place)
        self.lora_dropout = nn.Dropout(dropout)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        correction = self.lora_B(self.lora_A(self.lora_dropout(input)))
        return F.linear(input, self.weight, self.bias) + self.scaling * correction

    def merged(self) -> nn.Linear:
        """Return a plain layer that computes the same, in memory of its own."""
        correction = self.lora_B.weight.detach() @ self.lora_A.weight.detach()
        return self.plain(nn.Parameter(self.weight.detach() + self.scaling * correction))

    def plain(self, weight: Tensor) -> nn.Linear:
        """Return a plain layer of this weight and the same bias."""
        # On the meta device nothing is allocated, and nothing drawn, before the weight is there.
        layer = nn.Linear(self.in_features, self.out_features, device="meta")
        layer.weight, layer.bias = weight, self.bias
        return layer


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    targets: Iterable[str] = ("c_attn", "c_proj", "c_fc"),
) -> list[str]:
    """Freeze `model` and put LoRA beside the linear maps `targets` name; return their names.

    A target is a layer's name or the end of it: "c_proj" means all of them, "attn.c_proj" those
    of attention, "h.0.mlp.c_fc" one. Raises ValueError for a target that names none.
    """
    linears = {name: part for name, part in model.named_modules() if type(part) is nn.Linear}
    chosen: list[str] = []
    for target in targets:
        named = [name for name in linears if name == target or name.endswith("." + target)]
        if not named:
            ends = sorted({name.rpartition(".")[2] for name in linears})
            raise ValueError(f"no linear layer is called {target!r}; there are {', '.join(ends)}")
        chosen += [name for name in named if name not in chosen]
    model.requires_grad_(False)
    for name in chosen:
        model.set_submodule(name, LoRALinear(linears[name], rank, alpha, dropout))
    return chosen


def merge_lora(model: nn.Module) -> None:
    """Put every correction into the weight it stands beside; the model is a plain one again."""
    for name, layer in lora_layers(model).items():
        model.set_submodule(name, layer.merged())
    model.requires_grad_(True)


@contextmanager
def without_lora(model: Model) -> Iterator[Model]:
    """Lend the model beneath the corrections: the same parameters, in plain layers."""
    layers = lora_layers(model)
    for name, layer in layers.items():
        model.set_submodule(name, layer.plain(layer.weight))
    try:
        yield model
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the layers that carry a correction, by name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, LoRALinear)}


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the corrections alone: (rank, in) for each lora_A, (out, rank) for each lora_B."""
    return {
        f"{name}.{half}.weight": getattr(layer, half).weight
        for name, layer in lora_layers(model).items()
        for half in ("lora_A", "lora_B")
    }


def load_lora_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Give a model the corrections that `lora_state` returned; names and shapes must be theirs."""
    model.load_state_dict(state, strict=False)
