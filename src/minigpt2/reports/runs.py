"""Runs as a report needs them: what they logged and were told, which belong together; and points.

Reads run directories, writes nothing, and opens no weights: only the list of their shapes. What is
drawn of a log is made here too: its points, smoothed, thinned, and the band of seeds.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from minigpt2.checkpoints import RunDirectory, Say
from minigpt2.config import flatten
from minigpt2.errors import DataError, InputMissingError, MiniGPT2Error
from minigpt2.files import pointed, read_json, read_sealed
from minigpt2.settings import stored_config
from minigpt2.text import printable

Tree = dict[str, Any]
Log = list[Tree]  # the objects of a metrics.jsonl
Points = tuple[np.ndarray, np.ndarray]
_SAMPLE_CHARACTERS = 2000
MOST_POINTS = 1500  # of one curve: more than a figure has pixels
_LARGEST = 1e18  # nothing is measured beyond; axes of larger numbers overflow


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


@dataclass(frozen=True)
class Curve:
    """What is drawn in one colour: the logs of one configuration, one for each seed."""

    label: str
    logs: list[Log]

    @property
    def losses(self) -> list[float]:
        """The best validation loss of each seed that has one."""
        return [best[0] for best in map(best_loss, self.logs) if best]


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


def number(value: Any) -> float | None:
    """Return a value of a log as a float; None for what cannot be drawn, NaN among it.

    >>> number(2), number(float("nan")), number("2"), number(True)
    (2.0, None, None, None)
    """
    drawable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if drawable and abs(value) < _LARGEST else None


def points(log: Log, x: str, measure: str) -> Points:
    """Return where and what a log says of a measure, in the order of `x`; may be empty.

    `gap` is how far validation is above training at an evaluation.
    """
    above, below = ("val_loss", "train_eval_loss") if measure == "gap" else (measure, None)
    rows = [
        [number(entry.get(x)), number(entry.get(above)), number(entry.get(below)) if below else 0.0]
        for entry in log
    ]
    known = np.array([row for row in rows if None not in row], dtype=float).reshape(-1, 3)
    known = known[np.argsort(known[:, 0], kind="stable")]
    return known[:, 0], known[:, 1] - known[:, 2]


def best_loss(log: Log) -> tuple[float, int] | None:
    """Return the lowest validation loss and its step; what was before training does not count."""
    steps, losses = points([entry for entry in log if entry["step"] != 0], "step", "val_loss")
    return min(zip(losses.tolist(), steps.astype(int).tolist(), strict=True), default=None)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the centred moving average over a twentieth of the curve, narrower at its ends.

    Centred, so that a falling curve is not drawn too high.

    >>> smoothed(np.array([3.0, 2.0, 1.0])).tolist()
    [3.0, 2.0, 1.0]
    """
    places, sums = np.arange(len(values)), np.concatenate([[0.0], np.cumsum(values)])
    near = np.minimum(max(1, len(values) // 40), np.minimum(places, places[::-1]))
    return (sums[places + near + 1] - sums[places - near]) / (2 * near + 1)


def thinned(curve: Points, most: int = MOST_POINTS) -> Points:
    """Return at most about `most` of the points; no peak is lost.

    Each stretch of the curve keeps its lowest and its highest point, the curve its ends.
    """
    xs, ys = curve
    if len(xs) <= most:
        return curve
    kept = {0, len(xs) - 1}
    for stretch in np.array_split(np.arange(len(xs)), most // 2):
        kept |= {int(stretch[np.argmin(ys[stretch])]), int(stretch[np.argmax(ys[stretch])])}
    chosen = np.array(sorted(kept))
    return xs[chosen], ys[chosen]


def band(curves: list[Points], most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray] | None:
    """Return places all curves have (n,), and lowest, mean and highest there (3, n).

    Between its points a curve is a straight line. None for fewer than two curves or places.
    """
    if len(curves) < 2:
        return None
    start, stop = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    places = np.unique(np.concatenate([xs for xs, _ in curves]))
    places = places[(places >= start) & (places <= stop)]
    if len(places) < 2:
        return None
    if len(places) > most:
        places = places[np.linspace(0, len(places) - 1, most).round().astype(int)]
    values = np.stack([np.interp(places, xs, ys) for xs, ys in curves])
    return places, np.stack([values.min(0), values.mean(0), values.max(0)])
