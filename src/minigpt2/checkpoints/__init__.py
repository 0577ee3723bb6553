"""Checkpoints: one directory format, atomic, verified, and open to `transformers`."""

from minigpt2.checkpoints.adapters import add_adapter, is_adapter, load_adapter
from minigpt2.checkpoints.directory import (
    Progress,
    check_checkpoint,
    load_checkpoint,
    load_progress,
    save_checkpoint,
    verify,
)
from minigpt2.checkpoints.run import RunDirectory, newest_run
from minigpt2.checkpoints.weights import load_weights

__all__ = [
    "Progress",
    "RunDirectory",
    "add_adapter",
    "check_checkpoint",
    "is_adapter",
    "load_adapter",
    "load_checkpoint",
    "load_progress",
    "load_weights",
    "newest_run",
    "save_checkpoint",
    "verify",
]
