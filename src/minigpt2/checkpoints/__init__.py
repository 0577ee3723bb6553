"""Checkpoints: one directory format, atomic, verified, and open to `transformers`."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.checkpoints.directory import RunDirectory, Say, load_checkpoint, newest_run, run_of
