"""Set up a run, or take up one that stands: all that happens before the first step."""

import platform
import time
from collections.abc import Set
from dataclasses import asdict, dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor

from minigpt2 import __version__
from minigpt2.checkpoints import RunDirectory, Say, directory, is_adapter, weights
from minigpt2.config import Config, flatten, marked
from minigpt2.data import Dataset, Recipe, bigram_loss, open_dataset, prepare
from minigpt2.data.batches import Batches
from minigpt2.errors import ConfigError, DataError, UsageError
from minigpt2.files import read_sealed, replace_file, sealed
from minigpt2.model import LanguageModel
from minigpt2.settings import stored_config
from minigpt2.tokenizers import Tokenizer
from minigpt2.training.memory import MemoryEstimate, foresee_memory
from minigpt2.training.optimizers import build_optimizer, load_optimizer_tensors
from minigpt2.training.plan import Plan, apply_transforms, find_device, make_plan
from minigpt2.training.start import Given, build_model, keep_base, open_start

_FEW_STEPS, _FEW_TOKENS = 100, 300  # of which fine-tuning and its evaluation need more


class BatchSource(Protocol):
    """Where batches come from: a pure function of the step."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Return tokens and targets, (B, T) int64 each; targets of -100 are left out."""

    def steps(self, epochs: int) -> int:
        """Return how many steps that many epochs take."""


@dataclass
class Counters:
    """The numbers of a run; `step` is how many optimizer steps are done."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    evaluations_without_better: int = 0


@dataclass
class Job:
    """Everything the loop works with."""

    config: Config
    run: RunDirectory
    plan: Plan
    data: Dataset
    tokenizer: Tokenizer
    batches: BatchSource
    model: LanguageModel
    optimizer: torch.optim.Optimizer
    counters: Counters
    total_steps: int
    memory: MemoryEstimate
    bigram_loss: float | None

    @property
    def separator(self) -> int | None:
        """The id at which attention and positions restart, if they are to."""
        return self.data.separator if self.config.masks_documents else None

    @property
    def question(self) -> str:
        """What samples begin with: a held-out prompt, if there are some; else nothing."""
        val = self.data.val
        if not (self.config.by_document and self.data.manifest["prompts"] and len(val.documents)):
            return ""
        start, target, _ = val.documents.read(0, 1)
        return self.tokenizer.decode(val.read(int(start[0]), int(target[0])).tolist())

    def finished(self) -> bool:
        """Say whether nothing is left to do."""
        counters, patience = self.counters, self.config.training.patience
        stale = patience is not None and counters.evaluations_without_better >= patience
        return counters.step >= self.total_steps or stale


def begin(config: Config, given: Given, batches: BatchSource | None, resume: bool, say: Say) -> Job:
    """Open the run directory, plan, prepare the data, build the state, resume what is there."""
    run = _open_run(config, resume)
    resuming = run.exists()
    last = run.latest(say) if resuming else None
    if last is None and resuming and run.checkpoints():
        raise DataError(f"no checkpoint under {run.path} verifies; it cannot be resumed")
    model, known = open_start(config, last, given, say)
    plan = _plan(config, run, say) if resuming else make_plan(config)
    torch.set_num_threads(plan.threads)
    data = _open_data(config, run, known, say)
    if resuming and _facts(run)["data"] != _data_facts(data):
        raise DataError(
            f"{data.folder} is not the data {run.path} was begun with; use another --out"
        )
    tokenizer = given[1] or data.tokenizer
    asked, config = config, config.for_data(data.manifest["prompts"])
    if config.masks_documents and data.separator is None:
        raise ConfigError(["data.mask_documents: this is one text, without documents to part"])
    if batches is None:
        size, seed = config.training.batch_size, config.training.seed
        batches = Batches(data.train, size, config.sequence_length, seed, config.by_document)
    total_steps = config.training.max_steps or batches.steps(config.training.num_epochs or 1)
    config = config.for_length(total_steps)
    if config.model.init and last is None:
        _tell_of_little(config, data, total_steps, say)
    memory = foresee_memory(config, plan, model, tokenizer.vocab_size, say)
    model = model or build_model(config, tokenizer)
    keep_base(run, model, tokenizer, anew=last is None)
    apply_transforms(model, config, plan)
    optimizer, counters = build_optimizer(model, config.training), Counters()
    if last is not None:
        counters = take_up(last, model, optimizer)
        say(f"resuming {last}")
    if resuming:
        run.rewind(counters.step or -1)  # what was measured before step 1 is measured anew
    # What a table of pairs learns of prompts says nothing about answers.
    size = tokenizer.vocab_size
    baseline = None if config.by_document else bigram_loss(data.train, data.val, size)
    _write_facts(asked, run, plan, data, baseline)
    learning = (model, optimizer, counters, total_steps)
    return Job(config, run, plan, data, tokenizer, batches, *learning, memory, baseline)


def take_up(folder: Path, model: LanguageModel, optimizer: torch.optim.Optimizer) -> Counters:
    """Give model and optimizer the state that the checkpoint `folder` holds; return its counters.

    There is no generator state in it: each step seeds torch from (seed, step), so that dropout,
    like the batch, is a function of the step's number.
    """
    numbers, tensors = directory.load_progress(folder)
    load = weights.load_adapter if is_adapter(folder) else weights.load_weights
    load(model, folder)
    load_optimizer_tensors(optimizer, model, tensors)
    try:
        return Counters(**{item.name: numbers[item.name] for item in fields(Counters)})
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder}/state.json lacks {error}") from None


def _tell_of_little(config: Config, data: Dataset, total_steps: int, say: Say) -> None:
    """Say where fine-tuning would be over before it began, or be judged by next to nothing."""
    epochs = config.training.num_epochs
    if epochs and total_steps < _FEW_STEPS:
        more = epochs * -(-_FEW_STEPS // total_steps)
        say(
            f"so little text makes {total_steps} steps in {epochs} epochs; "
            f"--training.num-epochs {more} makes about {more * total_steps // epochs}"
        )
    if len(data.val) < _FEW_TOKENS and config.training.patience:
        say(
            f"only {len(data.val)} tokens are held out, so the validation loss says little; "
            "--training.patience none trains to the end, where `latest` points"
        )


def _open_run(config: Config, resume: bool) -> RunDirectory:
    """Return the run to go on with, or the place of a new one, where it overwrites nothing."""
    out = config.logging.model_save_path
    run = RunDirectory(Path(out) if out else new_run_dir("run"))
    if run.exists():
        if not resume:
            raise UsageError(f"{run.path} already holds a run; choose another --out, or resume it")
        return run
    if (run.path / "manifest.json").exists():
        raise UsageError(f"{run.path} is a data or model directory; choose another --out")
    names = ("metrics.jsonl", "samples.txt", "loss.png", "best", "latest")
    for path in (run.path / name for name in names):
        if path.exists() and not run.checkpoints():
            raise UsageError(f"{path} exists and {run.path} is no run; choose another --out")
    return run


def new_run_dir(name: str, runs_dir: Path = Path("runs")) -> Path:
    """Return a folder that is not there yet for a new run: name, date and time."""
    stamp = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    tries = (runs_dir / (stamp + (f"-{number}" if number else "")) for number in count())
    return next(path for path in tries if not path.exists())


def _open_data(config: Config, run: RunDirectory, given: Tokenizer | None, say: Say) -> Dataset:
    """Open prepared data, or encode the text into the run, once; check that it can be used."""
    source = Path(config.data.input_file)
    if (source / "manifest.json").is_file():
        data = open_dataset(source)
    elif run.exists() and run.data_dir.is_dir():
        data = open_dataset(run.data_dir)
    else:
        recipe = Recipe(config.data.tokenizer, val_fraction=config.data.val_fraction)
        data = prepare([config.data.input_file], run.data_dir, recipe, tokenizer=given, say=say)
    if given is not None and given.to_json() != data.tokenizer.to_json():
        raise DataError(
            f"{data.folder} was prepared with another tokenizer than the model's; give the text "
            "itself, or prepare it with --tokenizer and the model's directory"
        )
    if len(data.val) < 2:
        raise DataError(
            f"the validation split of {config.data.input_file} has {len(data.val)} tokens, and 2 "
            "are needed; give more text or a larger --data.val-fraction"
        )
    return data


def _facts(run: RunDirectory) -> dict[str, Any]:
    facts = read_sealed(run.facts_path)
    try:
        plan = Plan(**{name: facts["plan"][name] for name in Plan.__dataclass_fields__})
        return {"plan": plan, "data": facts["data"]}
    except (KeyError, TypeError) as error:
        raise DataError(f"{run.facts_path} lacks {error}: another version wrote it") from None


def _data_facts(data: Dataset) -> dict[str, Any]:
    names = ("sources", "recipe", "vocab_size", "tokenizer_sha256")
    return {name: data.manifest[name] for name in names}


def refuse_changes(place: Path, there: dict, here: dict, free: Set[str]) -> None:
    """Raise ConfigError where values that are not `free` differ from those `place` has."""
    changed = sorted(key for key in there.keys() - free if there[key] != here[key])
    if changed:
        told = ", ".join(f"{key} ({there[key]} there, {here[key]} here)" for key in changed)
        remedy = "use its values or another --out"
        raise ConfigError([f"{place} was begun with another {told}; {remedy}"])


def _plan(config: Config, run: RunDirectory, say: Say) -> Plan:
    """Return the recorded plan of a run, after checking that it may go on under `config`."""
    stored = stored_config(run.path).config
    old, new = flatten(stored), flatten(config)
    planned = marked("planned")
    refuse_changes(run.path, old, new, marked("free") | planned)
    plan = _facts(run)["plan"]
    here = make_plan(config)
    if any(old[key] != new[key] for key in planned):
        say(f"{run.path}: new plan, so losses may differ in their last digits: {here.describe()}")
        return here
    if torch.device(plan.device) != torch.device(find_device(config.training.device)):
        say(f"{run.path}: {plan.device} is not here; new plan: {here.describe()}")
        return here
    if (plan.machine, plan.threads) != (here.machine, here.threads):
        say(f"{run.path}: begun on {plan.machine}, {plan.threads} threads; its plan is kept")
    return plan


def _write_facts(
    config: Config, run: RunDirectory, plan: Plan, data: Dataset, baseline: float | None
) -> None:
    """Write run.json, then config.yaml: with the latter the run counts as begun."""
    facts = {"minigpt2": __version__, "torch": torch.__version__}
    facts |= {"python": platform.python_version(), "system": platform.platform()}
    known = {"plan": asdict(plan), "data": _data_facts(data), "bigram_loss": baseline}
    replace_file(run.facts_path, sealed(facts | known))
    values = yaml.safe_dump(asdict(config), sort_keys=False)
    replace_file(run.config_path, f"# written by minigpt2 {__version__}\n{values}".encode())
