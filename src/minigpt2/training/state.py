"""What changes as training goes on, and how it is put away and taken up again."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from minigpt2.checkpoints import Progress, is_adapter, load_adapter, load_progress, load_weights
from minigpt2.errors import DataError
from minigpt2.model import LanguageModel
from minigpt2.training.optimizers import load_optimizer_tensors, optimizer_tensors


@dataclass
class Counters:
    """The numbers of a run; `step` is how many optimizer steps are done."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    evaluations_without_better: int = 0


@dataclass
class TrainState:
    """All that a step changes: weights, optimizer, counters.

    There is no generator state: each step seeds torch from (seed, step), so that dropout, like
    the batch, is a function of the step's number.
    """

    model: LanguageModel
    optimizer: torch.optim.Optimizer
    counters: Counters

    def put_away(self) -> Progress:
        """Return what resuming needs beside the weights."""
        return Progress(asdict(self.counters), optimizer_tensors(self.optimizer, self.model))

    def take_up(self, folder: Path) -> None:
        """Become the state that the checkpoint `folder` holds."""
        progress = load_progress(folder)
        if is_adapter(folder):
            load_adapter(self.model, folder)
        else:
            load_weights(self.model, folder)
        load_optimizer_tensors(self.optimizer, self.model, progress.optimizer)
        try:
            values = {item.name: progress.numbers[item.name] for item in fields(Counters)}
        except (KeyError, TypeError) as error:
            raise DataError(f"{folder}/state.json lacks {error}") from None
        self.counters = Counters(**values)
