"""Checkpoints: one directory format, atomic, verified, and open to `transformers`."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.checkpoints.directory import load_checkpoint, save_checkpoint, verify
from minigpt2.checkpoints.run import RunDirectory, Say, newest_run, run_of
from minigpt2.checkpoints.weights import is_adapter
