"""Checkpoints: one directory format, atomic, verified, and open to `transformers`."""

from minigpt2.checkpoints.directory import (
    Progress,
    load_checkpoint,
    load_progress,
    save_checkpoint,
    verify,
)
from minigpt2.checkpoints.run import RunDirectory, newest_run, resolve_model
from minigpt2.checkpoints.weights import load_weights

__all__ = [
    "Progress",
    "RunDirectory",
    "load_checkpoint",
    "load_progress",
    "load_weights",
    "newest_run",
    "resolve_model",
    "save_checkpoint",
    "verify",
]
