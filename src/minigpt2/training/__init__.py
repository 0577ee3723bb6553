"""The one trainer, its plan, optimizers, schedules and events."""

from minigpt2.training.begin import BatchSource, new_run_dir
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
from minigpt2.training.memory import (
    MemoryEstimate,
    available_memory,
    cache_bytes,
    cheapest_fit,
    estimate_memory,
    gigabytes,
)
from minigpt2.training.plan import Plan, find_device, make_plan
from minigpt2.training.start import build_model, starting_values
from minigpt2.training.transforms import apply_transforms, checkpoint_blocks

__all__ = [
    "BatchSource",
    "Evaluated",
    "Event",
    "Finished",
    "MemoryEstimate",
    "Plan",
    "Sampled",
    "Saved",
    "Started",
    "Step",
    "apply_transforms",
    "available_memory",
    "build_model",
    "cache_bytes",
    "cheapest_fit",
    "checkpoint_blocks",
    "estimate_memory",
    "find_device",
    "gigabytes",
    "make_plan",
    "new_run_dir",
    "starting_values",
    "train",
]
