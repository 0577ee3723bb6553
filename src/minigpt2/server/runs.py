"""Runs, as they are trained: their logs, and the checkpoints they kept on the way.

A kept checkpoint of a served run is a model like any other, called `name@step`: opened when it is
first asked for, and let go when others are.
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from minigpt2.checkpoints import RunDirectory
from minigpt2.errors import MiniGPT2Error
from minigpt2.reports.runs import Run, best_loss, points, read_runs, read_samples, thinned
from minigpt2.server.errors import RefusedError, no_room
from minigpt2.server.worker import Opened, Worker

_MOST_OPEN = 4  # kept checkpoints at a time
_SLOTS, _QUEUE = 4, 16  # of each
_MOST_RUNS = 100
_POINTS = 400  # of a curve
_SAMPLES = 24
_COUNTS = ("step", "tokens", "seconds")  # of a line of a log; all else was measured


class Runs:
    """The runs that are served, by the names of their models, and those that lie beside them.

    `open_at` opens the model in a folder.
    """

    def __init__(
        self, served: Mapping[str, RunDirectory], open_at: Callable[[Path], Opened]
    ) -> None:
        self._served, self._open_at = served, open_at
        self._open: dict[str, Worker] = {}  # kept checkpoints by name, the longest unused first

    def history(self, model: str) -> dict[int, Path]:
        """Return the kept checkpoints of a served model, by step; empty where it is no run's."""
        return self._served[model].history() if model in self._served else {}

    async def checkpoint(self, name: str) -> Worker | None:
        """Return the model called `name@step`; None if there is none, RefusedError without room."""
        model, _, step = name.rpartition("@")
        steps = {str(kept): path for kept, path in self.history(model).items()}
        folder = steps.get(step)
        if folder is None:
            return None
        worker = self._open.pop(name, None)
        if worker is None or worker.error is not None:
            self._make_room()
            worker = Worker(name, lambda: self._open_at(folder), _SLOTS, _QUEUE)
            worker.start()
        self._open[name] = worker
        await worker.opened()
        return worker

    def _make_room(self) -> None:
        if len(self._open) < _MOST_OPEN:
            return
        idle = next((name for name, worker in self._open.items() if worker.idle), None)
        if idle is None:
            raise no_room()
        self._open.pop(idle).stop(wait=False)

    def stop(self) -> None:
        """Let go of every kept checkpoint."""
        for worker in self._open.values():
            worker.stop()

    def _folders(self) -> dict[str, RunDirectory]:
        """Return the runs by name: those served, and what lies beside them, newest first."""
        served = [RunDirectory(run.path.resolve()) for run in self._served.values()]
        beside = {path for run in served for path in run.path.parent.iterdir()}
        logged = [run for run in map(RunDirectory, beside) if run.metrics_path.is_file()]
        logged.sort(key=lambda run: run.metrics_path.stat().st_mtime, reverse=True)
        return {run.path.name: run for run in [*logged[:_MOST_RUNS], *served]}

    def listed(self) -> list[dict[str, Any]]:
        """Return what there is to say of every run in short, the newest first."""
        models = {run.path.resolve(): name for name, run in self._served.items()}
        told = []
        for name, folder in self._folders().items():
            if run := _read(folder):
                best = best_loss(run.log)
                told.append({
                    "name": name,
                    "model": models.get(folder.path),
                    "step": run.log[-1]["step"],
                    "steps": run.config.get("training.max_steps"),
                    "val_loss": best and best[0],
                    "updated": max(0.0, time.time() - folder.metrics_path.stat().st_mtime),
                    "history": list(folder.history()),
                })  # fmt: skip
        return told

    def told(self, name: str) -> dict[str, Any]:
        """Return the curves and samples of a run; raise RefusedError where there is none."""
        folder = self._folders().get(name)
        run = _read(folder) if folder else None
        if run is None:
            raise RefusedError(404, f"there is no run {name[:100]!r} with a step in its log")
        curves = {}
        for measure in run.last:
            xs, ys = thinned(points(run.log, "step", measure), _POINTS)
            if len(xs) and measure not in _COUNTS:
                curves[measure] = {"x": xs.tolist(), "y": ys.tolist()}
        samples = [{"step": int(step), "text": text} for step, text in read_samples(run, _SAMPLES)]
        return {"name": name, "curves": curves, "samples": samples}


def _read(folder: RunDirectory) -> Run | None:
    """Return a run as its log is now; None where there is nothing to show."""
    try:
        stat = folder.metrics_path.stat()
        return _read_once(folder.path, stat.st_mtime_ns, stat.st_size)
    except (OSError, MiniGPT2Error):  # being written for the first time, or taken away
        return None


@lru_cache(_MOST_RUNS)
def _read_once(path: Path, written: int, size: int) -> Run:
    """Read a run; a log that was not written to since is not read again."""
    return read_runs([path], lambda line: None)[0]
