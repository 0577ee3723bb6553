"""The one trainer, its plan, optimizers, schedules and events."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.training.begin import BatchSource, new_run_dir
from minigpt2.training.loop import Evaluated, Event, Finished, Sampled, Saved, Started, Step, train
from minigpt2.training.plan import Plan, apply_transforms, checkpoint_blocks, find_device, make_plan
from minigpt2.training.start import build_model, shape_of, starting_values
