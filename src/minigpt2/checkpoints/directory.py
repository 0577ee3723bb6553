"""Checkpoint directories, written whole or not at all, verified before they are believed; and runs.

It is a Hugging Face model directory with what resuming needs beside it, and a manifest, written
last, of every file's size and SHA-256. A run directory has its checkpoints by step, `latest` and
`best`, and the log beside them.
"""

import errno
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from minigpt2 import files
from minigpt2.checkpoints import weights
from minigpt2.checkpoints.weights import ADAPTER, ADAPTER_CONFIG, WEIGHTS, is_adapter
from minigpt2.errors import DataError, InputMissingError
from minigpt2.model import LanguageModel, lora_layers
from minigpt2.tokenizers import Tokenizer, load_tokenizer, tokenizer_files

MANIFEST = "manifest.json"
_STATE, _OPTIMIZER = "state.json", "optimizer.safetensors"
Say = Callable[[str], None]
_STEP = r"step-\d{8,}"
# What resuming needs beside the weights: plain numbers, and the optimizer's tensors.
Progress = tuple[dict[str, Any], dict[str, Tensor]]


def save_checkpoint(
    folder: Path,
    model: LanguageModel,
    tokenizer: Tokenizer,
    progress: Progress | None = None,
    base: str | None = None,
    more: dict[str, bytes] | None = None,
) -> None:
    """Write `folder` atomically; a failure leaves whatever stood there before.

    A model with LoRA layers becomes an adapter, which names its `base`. `more` are files to write
    beside.
    """
    adapted = bool(lora_layers(model))
    trees: dict[str, dict[str, Any]] = {}
    tensors: dict[str, dict[str, Tensor]] = {}
    if adapted:
        trees[ADAPTER_CONFIG], tensors[ADAPTER] = weights.adapter_to_disk(model, base)
    else:
        ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_id)
        trees["config.json"] = weights.config_to_json(model, tokenizer.eos_id)
        trees["generation_config.json"] = {**ends, "do_sample": True}
        tensors[WEIGHTS] = weights.state_to_disk(model)
    if progress is not None:
        trees[_STATE], tensors[_OPTIMIZER] = progress
    contents = {**tokenizer_files(tokenizer, model.config.block_size), **(more or {})}
    contents |= {name: files.json_bytes(tree) for name, tree in trees.items()}
    with files.new_directory(folder) as temporary:
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        for name, named in tensors.items():
            _write_tensors(named, temporary / name)
        entries = {name: files.size_and_hash(temporary / name) for name in (*contents, *tensors)}
        manifest = {"format": "minigpt2-checkpoint", "version": 1, "files": entries}
        if adapted and base and (Path(base) / MANIFEST).is_file():
            manifest["base"] = files.sha256_of(Path(base) / MANIFEST)
        (temporary / MANIFEST).write_bytes(files.sealed(manifest))


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file straight from the tensors' memory."""
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(whole, path, metadata={"format": "pt"})
    except SafetensorError as error:  # the system's own reason stands in its text
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from None


def verify(folder: Path, resumable: bool = True) -> str | None:
    """Return what is wrong with a checkpoint's files, or None; a foreign one has no manifest.

    Who only wants the model leaves out the optimizer's numbers: `resumable` False.
    """
    path = folder / MANIFEST
    try:
        entries = files.read_sealed(path)["files"]
        needed = {ADAPTER_CONFIG, ADAPTER} if is_adapter(folder) else {"config.json", WEIGHTS}
        if missing := needed - entries.keys():
            return f"{MANIFEST} lacks {', '.join(sorted(missing))}"
        for name, entry in entries.items():
            if not resumable and name == _OPTIMIZER:
                continue
            file = folder / name
            if Path(name).name != name or not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {entry['bytes']}"
            if files.sha256_of(file) != entry["sha256"]:
                return f"{name} was altered: its SHA-256 is not the manifest's"
    except (DataError, InputMissingError) as error:
        return str(error)
    except (KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is no manifest of a checkpoint"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    return None


def load_checkpoint(folder: Path, mapped: bool = True) -> tuple[LanguageModel, Tokenizer]:
    """Open a checkpoint or any Hugging Face GPT-2 directory, verifying it where it can be.

    `mapped` weights lie in the file until they are written to: opened at once, and never twice in
    memory.
    """
    if not (folder / "config.json").is_file():
        raise InputMissingError(f"{folder} holds no model: config.json is missing")
    with ThreadPoolExecutor(1) as pool:  # hashing lets others run, and takes as long as the rest
        checked = pool.submit(check_checkpoint, folder)
        try:
            model, tokenizer = weights.read_model(folder, mapped), load_tokenizer(folder)
        finally:
            checked.result()  # that a file was altered says more than what came of it
    check_ids(model, tokenizer, folder)
    return model, tokenizer


def check_ids(model: LanguageModel, tokenizer: Tokenizer, where: Path) -> None:
    """Raise DataError if the tokenizer has ids of which the model knows nothing."""
    ids, rows = tokenizer.vocab_size, model.config.vocab_size
    if ids > rows:
        raise DataError(f"{where}: the tokenizer has {ids} ids, the model only {rows}")


def check_checkpoint(folder: Path) -> None:
    """Raise DataError if a checkpoint of ours is not as it was written; others can't be asked."""
    ours = (folder / MANIFEST).exists() or (folder / _STATE).exists()
    if ours and (fault := verify(folder, resumable=False)):
        raise DataError(f"checkpoint {folder}: {fault}; use another step, or train again")


def check_base(adapter_dir: Path, base_dir: Path) -> None:
    """Raise DataError if an adapter of ours was trained on another model than `base_dir` holds."""
    if (adapter_dir / MANIFEST).is_file():
        known = files.read_sealed(adapter_dir / MANIFEST).get("base")
        if known is not None and known != files.sha256_of(base_dir / MANIFEST):
            raise DataError(f"{base_dir} is not the model that {adapter_dir} was trained on")


def load_progress(folder: Path) -> Progress:
    """Read what `save_checkpoint` wrote beside the weights."""
    try:
        numbers = files.read_json(folder / _STATE)
        return numbers, weights.read_safetensors(folder / _OPTIMIZER)
    except InputMissingError as error:
        raise DataError(f"{folder} holds weights only; it cannot be resumed ({error})") from None


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

    def read_samples(self) -> list[tuple[str, str]]:
        """Return what `log_sample` wrote, each text with its step."""
        path = self.samples_path
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        parts = re.split(r"^=== step ([0-9]+) ===$", text, flags=re.MULTILINE)[1:]
        samples = zip(parts[::2], parts[1::2], strict=True)
        return [(step, sample.strip("\n")) for step, sample in samples]

    def _append(self, path: Path, text: str) -> None:
        with files.storage_errors(path), path.open("ab") as file:
            file.write(text.encode())

    def read_log(self) -> list[dict[str, Any]]:
        """Return metrics.jsonl, empty where there is none, without a last line not whole yet."""
        path = self.metrics_path
        lines = path.read_bytes().splitlines() if path.exists() else []
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
