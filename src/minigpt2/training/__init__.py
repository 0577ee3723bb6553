"""The one trainer, its plan, optimizers, schedules and events."""

from minigpt2.training.begin import BatchSource, new_run_dir
from minigpt2.training.curves import draw_curves
from minigpt2.training.events import (
    Evaluated,
    Event,
    Finished,
    Sampled,
    Saved,
    Started,
    Step,
)
from minigpt2.training.loop import train
from minigpt2.training.plan import Plan, find_device, make_plan
from minigpt2.training.start import build_model, starting_values
from minigpt2.training.transforms import apply_transforms, checkpoint_blocks

__all__ = [
    "BatchSource",
    "Evaluated",
    "Event",
    "Finished",
    "Plan",
    "Sampled",
    "Saved",
    "Started",
    "Step",
    "apply_transforms",
    "build_model",
    "checkpoint_blocks",
    "draw_curves",
    "find_device",
    "make_plan",
    "new_run_dir",
    "starting_values",
    "train",
]
