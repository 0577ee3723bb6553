"""Checkpoints: one directory format, atomic, verified, and open to `transformers`."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.checkpoints.adapters import add_adapter, is_adapter, load_adapter
from minigpt2.checkpoints.directory import (
    Progress,
    check_base,
    check_checkpoint,
    load_checkpoint,
    load_progress,
    save_checkpoint,
    verify,
)
from minigpt2.checkpoints.run import RunDirectory, newest_run, run_of
from minigpt2.checkpoints.weights import load_weights
