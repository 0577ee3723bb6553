"""The one trainer, its plan, optimizers, schedules and events."""

from minigpt2.training.begin import BatchSource, build_model, new_run_dir
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
    "build_model",
    "draw_curves",
    "find_device",
    "make_plan",
    "new_run_dir",
    "train",
]
