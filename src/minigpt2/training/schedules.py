"""The learning rate of a step, as a pure function."""

import math

from minigpt2.config import TrainingSection

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
