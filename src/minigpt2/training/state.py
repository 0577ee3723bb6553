"""What a run has counted, and how it is taken up again from a checkpoint."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch

from minigpt2.checkpoints.adapters import is_adapter, load_adapter
from minigpt2.checkpoints.directory import load_progress
from minigpt2.checkpoints.weights import load_weights
from minigpt2.errors import DataError
from minigpt2.model import LanguageModel
from minigpt2.training.optimizers import load_optimizer_tensors


@dataclass
class Counters:
    """The numbers of a run; `step` is how many optimizer steps are done."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    evaluations_without_better: int = 0


def take_up(folder: Path, model: LanguageModel, optimizer: torch.optim.Optimizer) -> Counters:
    """Give model and optimizer the state that the checkpoint `folder` holds; return its counters.

    There is no generator state in it: each step seeds torch from (seed, step), so that dropout,
    like the batch, is a function of the step's number.
    """
    progress = load_progress(folder)
    if is_adapter(folder):
        load_adapter(model, folder)
    else:
        load_weights(model, folder)
    load_optimizer_tensors(optimizer, model, progress.optimizer)
    try:
        return Counters(**{item.name: progress.numbers[item.name] for item in fields(Counters)})
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder}/state.json lacks {error}") from None
