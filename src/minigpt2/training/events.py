"""What training tells whoever listens: the trainer yields these, the faces render them."""

from dataclasses import dataclass
from pathlib import Path

from minigpt2.data import Dataset
from minigpt2.training.memory import MemoryEstimate
from minigpt2.training.plan import Plan


@dataclass(frozen=True)
class Started:
    """The run is set up; `step` is where it begins, above zero when it resumes."""

    run_dir: Path
    plan: Plan
    step: int
    total_steps: int
    parameters: int
    trained: int
    memory: MemoryEstimate
    data: Dataset


@dataclass(frozen=True)
class Step:
    """One optimizer step; loss in nats a token, of this step's batch alone."""

    step: int
    total_steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float


@dataclass(frozen=True)
class Evaluated:
    """The whole validation split, and as much of the training split, at one moment."""

    step: int
    val_loss: float
    train_eval_loss: float
    is_best: bool


@dataclass(frozen=True)
class Sampled:
    """What the model writes at this step."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on disk."""

    step: int
    folder: Path


@dataclass(frozen=True)
class Finished:
    """The end: `reason` is complete, patience, interrupted, or already (nothing was to do)."""

    reason: str
    step: int
    run_dir: Path
    best_step: int
    best_loss: float | None
    bigram_loss: float | None
    seconds: float


Event = Started | Step | Evaluated | Sampled | Saved | Finished
