"""Runs as a report needs them: what they logged, what they were told, and which belong together.

Reads run directories, writes nothing, and opens no weights: only the list of their shapes.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from minigpt2.checkpoints import RunDirectory, Say
from minigpt2.config import flatten
from minigpt2.errors import DataError, InputMissingError, MiniGPT2Error
from minigpt2.files import pointed, read_json, read_sealed
from minigpt2.reports.curves import Curve, Log, number
from minigpt2.settings import stored_config
from minigpt2.text import printable

Tree = dict[str, Any]
_SAMPLE_CHARACTERS = 2000


@dataclass(frozen=True)
class Run:
    """One run: `config` has dotted keys; it, `facts` and `shape` are empty where unknown."""

    name: str
    path: Path
    log: Log
    config: Tree
    facts: Tree  # of run.json
    shape: Tree  # the config.json of its model, and `parameters`; else what it was told to be

    @property
    def last(self) -> Tree:
        """What was last logged of each measure that is a number."""
        entries = (item for entry in self.log for item in entry.items())
        return {key: value for key, value in entries if number(value) is not None}

    @property
    def losses(self) -> list[float | None]:
        """Every loss that was logged; None for what is no number."""
        keys = ("train_loss", "val_loss")
        return [number(entry[key]) for entry in self.log for key in keys if key in entry]


def read_runs(paths: list[Path], say: Say) -> list[Run]:
    """Read runs, each once; `say` what is missing in them, and which have nothing to show.

    Raises InputMissingError for a path that is no run, DataError for a damaged log or if no run
    has a step.
    """
    paths = list({path.resolve(): path for path in paths}.values())
    runs = []
    for path, name in zip(paths, short_names(paths), strict=True):
        run = RunDirectory(path)
        if not run.exists() and not run.metrics_path.is_file():
            reason = "no config.yaml and no metrics.jsonl in it" if path.is_dir() else "no folder"
            if (path / "sweep.json").is_file():
                reason = f"it is a sweep, with runs in {path}/trials/*/*"
            raise InputMissingError(f"{path} is no run directory: {reason}")
        log = run.read_log() if run.metrics_path.exists() else []
        if log:
            runs.append(_read_run(run, name, log, say))
        else:
            say(f"skipped {path}: no step is logged in it")
    if not runs:
        raise DataError(f"nothing to report: no step is logged in {', '.join(map(str, paths))}")
    return runs


def short_names(paths: list[Path]) -> list[str]:
    """Return the last part of each path, or all of it where others end as it does.

    >>> short_names([Path("new/a"), Path("new/b"), Path("b")])
    ['a', 'new/b', 'b']
    """
    ends = [path.resolve().name if path.name in ("", "..") else path.name for path in paths]
    pairs = zip(paths, ends, strict=True)
    return [one_line(path.as_posix() if ends.count(end) > 1 else end) for path, end in pairs]


def one_line(value: Any) -> str:
    """Return any value as one line of visible characters."""
    return printable(str(value)).replace("\n", "␊").replace("\t", " ")


def group_runs(runs: list[Run]) -> list[list[Run]]:
    """Return the runs in groups that differ in training.seed and logging.* alone, in order."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        told = {key: value for key, value in run.config.items() if not key.startswith("logging.")}
        told.pop("training.seed", None)
        # Of a run whose configuration is lost nothing is known to be alike.
        key = json.dumps([told, run.facts.get("data")]) if told else run.path
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def curve_of(group: list[Run]) -> Curve:
    """Return what is drawn in one colour: a group of seeds, under the name of its first."""
    seeds = f" ({len(group)} seeds)" if len(group) > 1 else ""
    return Curve(group[0].name + seeds, [run.log for run in group])


def read_samples(run: Run, most: int) -> list[tuple[str, str]]:
    """Return at most that many of a run's samples, evenly spread, each with its step."""
    path = RunDirectory(run.path).samples_path
    text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    parts = re.split(r"^=== step ([0-9]+) ===$", text, flags=re.MULTILINE)[1:]
    samples = list(zip(parts[::2], parts[1::2], strict=True))
    chosen = {round(k * (len(samples) - 1) / (most - 1)) for k in range(most if samples else 0)}
    shown = (samples[place] for place in sorted(chosen))
    return [(step, printable(sample.strip("\n")[:_SAMPLE_CHARACTERS])) for step, sample in shown]


def read_evaluations(run: Run, say: Say) -> Iterator[Tree]:
    """Yield what `minigpt2 eval` wrote of a run; a damaged file is named and passed over."""
    for path in sorted((run.path / "evaluations").glob("*.json")):
        if record := _attempt(partial(read_json, path), "skipped", say):
            # Where the model and the data lay is nobody's business.
            places = {key: record[key] for key in ("model", "data") if key in record}
            yield record | {key: PurePath(str(place)).name for key, place in places.items()}


def _attempt(read: Callable[[], Tree], what: str, say: Say) -> Tree:
    """Return what is read, or nothing where it cannot be, and say so."""
    try:
        return read()
    except MiniGPT2Error as error:
        say(f"{what}: {error}")
        return {}


def _read_run(run: RunDirectory, name: str, log: Log, say: Say) -> Run:
    config = _attempt(lambda: flatten(stored_config(run.path).config), "no configuration", say)
    facts = _attempt(lambda: read_sealed(run.facts_path), "no plan and no bigram baseline", say)
    folder = pointed(run.path / "best") or pointed(run.path / "latest")
    shape = _shape(folder) if folder else {}
    if not shape and not config.get("model.init"):
        shape = {key.removeprefix("model."): value for key, value in config.items()}
    return Run(name, run.path, log, config, facts, shape)


def _shape(folder: Path) -> Tree:
    """Return a checkpoint's config.json with how many parameters it holds, where they are told."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "model.safetensors", framework="numpy") as file:
            sizes = [math.prod(file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118
        return read_json(folder / "config.json") | {"parameters": sum(sizes)}
    except (MiniGPT2Error, SafetensorError, OSError):  # a LoRA run's, or one being replaced
        return {}
