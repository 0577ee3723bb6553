"""Optimizers, and their state as named tensors."""

import torch
from torch import Tensor, nn

from minigpt2.config import TrainingSection
from minigpt2.errors import DataError


def build_optimizer(model: nn.Module, training: TrainingSection) -> torch.optim.Optimizer:
    """Return the configured optimizer over `model`, fused, the matrices alone decayed.

    Biases and LayerNorm gains shift and scale activations; decaying them only hurts. With `adam`
    the decay joins the gradient (Kingma and Ba 2014), with `adamw` it does not pass through the
    moments (Loshchilov and Hutter 2017, arXiv 1711.05101).
    """
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    groups = decay_groups(model, training.weight_decay)
    rate, betas = training.learning_rate, (training.beta1, training.beta2)
    return kinds[training.optimizer](groups, lr=rate, betas=betas, fused=True)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split the trained parameters into decayed ones, of two or more dimensions, and the rest."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state as {"exp_avg/h.0...": tensor}."""
    return {
        f"{kind}/{name}": value.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Give the optimizer the state that `optimizer_tensors` returned; all of it must fit."""
    parameters = dict(model.named_parameters())
    named = {key.partition("/")[2] for key in tensors}
    trained = {name for name, parameter in parameters.items() if parameter.requires_grad}
    if tensors and trained - named:
        raise DataError(f"optimizer state lacks {', '.join(sorted(trained - named))}")
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        if name not in parameters or value.shape not in ((), parameters[name].shape):
            raise DataError(f"optimizer state {key} does not fit the model")
        parameter = parameters[name]
        # Adam's step counter is a scalar that the fused kernels want on the parameter's device.
        optimizer.state[parameter][kind] = value.clone().to(parameter.device)
