"""Optimizers, their state as named tensors, and the learning rate of a step."""

import math

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


# The share of a run over which `wsd` decays. Hu et al. 2024 (MiniCPM, arXiv 2404.06395) use a
# tenth for long runs; over runs of minutes a longer decay measured best.
WSD_DECAY = 0.6


def learning_rate(step: int, total_steps: int, training: TrainingSection) -> float:
    """Return the rate of optimizer step `step`, counted from 0.

    Linear warm-up over `warmup_steps`, then constant, or falling to `min_learning_rate` at
    `decay_steps` (default: the end) along a cosine (Loshchilov and Hutter 2016), a line, or
    warmup-stable-decay.
    """
    peak, least = training.learning_rate, training.min_learning_rate
    least = peak / 10 if least is None else least
    warmup = training.warmup_steps or 0
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if training.schedule == "constant":
        return peak
    end = training.decay_steps or total_steps
    stable = round(end * (1 - WSD_DECAY)) if training.schedule == "wsd" else 0
    begin = max(warmup, stable)
    progress = min(1.0, max(0, step - begin) / max(1, end - begin))
    if training.schedule == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return peak + (least - peak) * progress
