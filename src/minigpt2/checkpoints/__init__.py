"""Checkpoints: one directory format, atomic, verified, and open to `transformers`."""

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

__all__ = [
    "Progress",
    "RunDirectory",
    "add_adapter",
    "check_base",
    "check_checkpoint",
    "is_adapter",
    "load_adapter",
    "load_checkpoint",
    "load_progress",
    "load_weights",
    "newest_run",
    "run_of",
    "save_checkpoint",
    "verify",
]
