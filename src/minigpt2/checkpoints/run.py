"""A run directory: its checkpoints by step, `latest` and `best`, and the log beside them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minigpt2 import files
from minigpt2.checkpoints.directory import Progress, save_checkpoint, verify
from minigpt2.errors import DataError, InputMissingError
from minigpt2.model import LanguageModel
from minigpt2.tokenizers import Tokenizer

Say = Callable[[str], None]
_STEP = r"step-\d{8,}"


class RunDirectory:
    """The folder of one training run; the layout is drawn in docs/architecture.md."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics_path = path / "metrics.jsonl"
        self.samples_path = path / "samples.txt"
        self.config_path = path / "config.yaml"
        self.facts_path = path / "run.json"
        self.data_dir = path / "data"
        self.base_dir = path / "base"  # the model beneath LoRA layers

    def exists(self) -> bool:
        """Say whether a run was begun here."""
        return self.config_path.is_file()

    def checkpoints(self) -> list[Path]:
        """Return the checkpoint folders, oldest first."""
        named = (path for path in self.path.glob("step-*") if re.fullmatch(_STEP, path.name))
        return sorted(path for path in named if path.is_dir())

    def save(
        self, model: LanguageModel, tokenizer: Tokenizer, progress: Progress, keep: int
    ) -> Path:
        """Write the checkpoint of this step, point at it, and drop what is no longer kept."""
        numbers, _ = progress
        folder = self.step_dir(numbers["step"])
        save_checkpoint(folder, model, tokenizer, progress, str(self.base_dir.resolve()))
        files.point(self.path / "latest", folder.name)
        best = self.step_dir(numbers["best_step"])
        if best.is_dir():
            files.point(self.path / "best", best.name)
        for old in set(self.checkpoints()[:-keep]) - {best, folder}:
            files.remove_directory(old)
        return folder

    def history(self) -> dict[int, Path]:
        """Return what was kept of the weights through training, by step; see `keep`."""
        named = sorted(self.path.glob("history/step-*"))
        return {int(p.name[5:]): p for p in named if re.fullmatch(_STEP, p.name) and p.is_dir()}

    def keep(self, model: LanguageModel, tokenizer: Tokenizer, step: int) -> None:
        """Keep the weights as they are at this step, for good: training can be replayed."""
        folder = self.path / "history" / self.step_dir(step).name
        save_checkpoint(folder, model, tokenizer, base=str(self.base_dir.resolve()))

    def step_dir(self, step: int) -> Path:
        """Return the folder of the checkpoint after `step` optimizer steps."""
        return self.path / f"step-{step:08d}"

    def latest(self, say: Say) -> Path | None:
        """Return the newest checkpoint that verifies; say which broken ones were passed over."""
        for folder in reversed(self.checkpoints()):
            if (fault := verify(folder)) is None:
                return folder
            say(f"skipped checkpoint {folder}: {fault}")
        return None

    def best(self, say: Say) -> Path | None:
        """Return the best checkpoint by validation loss, else the newest that verifies."""
        if folder := files.pointed(self.path / "best"):
            if (fault := verify(folder, resumable=False)) is None:  # it is read, not resumed
                return folder
            say(f"skipped the best checkpoint {folder}: {fault}")
        return self.latest(say)

    def rewind(self, step: int) -> None:
        """Make the run stand at `step`: sweep torn writes, forget what came after it."""
        files.sweep_temporaries(self.path)
        files.sweep_temporaries(self.path / "history")
        for folder in self.checkpoints():
            if folder > self.step_dir(step):  # they did not verify, or we would stand there
                files.remove_directory(folder)
        for kept, folder in self.history().items():
            if kept > step:
                files.remove_directory(folder)
        for path, cut in ((self.metrics_path, _cut_metrics), (self.samples_path, _cut_samples)):
            if path.exists():
                files.replace_file(path, cut(path.read_bytes(), step))

    def drop_checkpoints(self) -> None:
        """Remove every checkpoint and what points at them; the logs stay."""
        for link in (self.path / "latest", self.path / "best"):
            with files.storage_errors(link):
                link.unlink(missing_ok=True)
        for folder in self.checkpoints():
            files.remove_directory(folder)

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        self._append(self.metrics_path, json.dumps(entry) + "\n")

    def log_sample(self, step: int, text: str) -> None:
        """Append a sample to samples.txt."""
        self._append(self.samples_path, f"=== step {step} ===\n{text}\n\n")

    def _append(self, path: Path, text: str) -> None:
        with files.storage_errors(path), path.open("ab") as file:
            file.write(text.encode())

    def read_log(self) -> list[dict[str, Any]]:
        """Return metrics.jsonl, leaving out a last line that is not whole yet."""
        try:
            lines = self.metrics_path.read_bytes().splitlines()
        except FileNotFoundError:
            raise InputMissingError(f"{self.path} holds no metrics.jsonl; is it a run?") from None
        entries = [_entry(line) for line in lines]
        if None in entries[:-1]:  # the last one may be being written
            raise DataError(f"{self.metrics_path}: line {entries.index(None) + 1} is damaged")
        return [entry for entry in entries if entry is not None]


def run_of(folder: Path) -> RunDirectory | None:
    """Return the run a checkpoint folder belongs to; None for a model that stands alone."""
    place = folder.resolve()
    run = RunDirectory(place.parent)
    return run if run.exists() and re.fullmatch(_STEP, place.name) else None


def newest_run(runs_dir: Path) -> Path:
    """Return the run under `runs_dir` that wrote last; raise InputMissingError if there is none."""
    runs = [path for path in runs_dir.glob("*") if RunDirectory(path).checkpoints()]
    if not runs:
        remedy = "train one: minigpt2 train"
        raise InputMissingError(f"no run under {runs_dir}/ in this folder; {remedy}")
    return max(runs, key=lambda path: RunDirectory(path).checkpoints()[-1].stat().st_mtime)


def _cut_metrics(content: bytes, step: int) -> bytes:
    """Keep the whole lines up to `step`; the one being written when the process died goes."""
    lines = content.splitlines(keepends=True)
    entries = ((line, _entry(line)) for line in lines if line.endswith(b"\n"))
    return b"".join(line for line, entry in entries if entry and entry["step"] <= step)


def _entry(line: bytes) -> dict[str, Any] | None:
    """Parse one line of metrics.jsonl; None if it is none."""
    try:
        entry = files.parse_json(line, "line")
    except DataError:
        return None
    numbers = (entry.get("step"), entry.get("train_loss", 0.0))
    return entry if all(isinstance(number, int | float) for number in numbers) else None


def _cut_samples(content: bytes, step: int) -> bytes:
    """Keep the samples up to `step`."""
    headers = re.finditer(rb"^=== step (\d+) ===$", content, re.MULTILINE)
    later = (header.start() for header in headers if int(header[1]) > step)
    return content[: next(later, None)]
