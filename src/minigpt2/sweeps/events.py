"""What a sweep tells whoever listens, the events of its training runs among it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt2.training import Event

Record = dict[str, Any]  # one finished trial, a line of trials.jsonl


@dataclass(frozen=True)
class TrialBegun:
    """A run of trial `number` begins, or goes on, with this seed."""

    number: int
    trials: int
    values: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class TrialEnded:
    """A trial is complete, pruned or failed, and on record."""

    record: Record
    trials: int


@dataclass(frozen=True)
class SweepEnded:
    """The end: all trials are on record, or it was `interrupted`; `best` is the best one."""

    out_dir: Path
    records: list[Record]
    best: Record | None
    interrupted: bool


SweepEvent = TrialBegun | TrialEnded | SweepEnded | Event
