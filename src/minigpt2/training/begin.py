"""Set up a run, or take up one that stands: all that happens before the first step."""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor

from minigpt2 import __version__
from minigpt2 import config as schema
from minigpt2.checkpoints import RunDirectory
from minigpt2.config import Config
from minigpt2.data import (
    Batches,
    Dataset,
    DocumentBatches,
    Recipe,
    bigram_loss,
    open_dataset,
    prepare,
)
from minigpt2.errors import ConfigError, DataError, UsageError
from minigpt2.files import read_sealed, replace_file, sealed
from minigpt2.model import GPT2, LanguageModel
from minigpt2.settings import stored_config
from minigpt2.tokenizers import Tokenizer
from minigpt2.training.memory import (
    MemoryEstimate,
    available_memory,
    cheapest_fit,
    estimate_memory,
    gigabytes,
)
from minigpt2.training.optimizers import build_optimizer
from minigpt2.training.plan import Plan, find_device, make_plan, plan_from_dict, plan_to_dict
from minigpt2.training.start import build_model, keep_base, open_start
from minigpt2.training.state import Counters, TrainState
from minigpt2.training.transforms import apply_transforms

Say = Callable[[str], None]

# Keys of a run that may change when it is resumed; the second group asks for a new plan.
_PLAN_KEYS = {
    f"training.{name}"
    for name in ("device", "dtype", "attention", "compile", "threads", "micro_batch_size")
}
_FREE_KEYS = {
    "training.max_steps",
    "training.num_epochs",
    "training.patience",
    "training.activation_checkpointing",
} | _PLAN_KEYS


_FEW_STEPS, _FEW_TOKENS = 100, 300  # of which fine-tuning and its evaluation need more


class BatchSource(Protocol):
    """Where batches come from: a pure function of the step."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Return tokens and targets, (B, T) int64 each; targets of -100 are left out."""
        ...

    def steps(self, epochs: int) -> int:
        """Return how many steps that many epochs take."""
        ...


@dataclass
class Job:
    """Everything the loop works with."""

    config: Config
    run: RunDirectory
    plan: Plan
    data: Dataset
    tokenizer: Tokenizer
    batches: BatchSource
    state: TrainState
    total_steps: int
    memory: MemoryEstimate
    room: int | None  # bytes that were to be had before the first step
    bigram_loss: float | None
    separator: int | None  # of documents that are not to see one another in a row
    question: str  # what samples begin with

    def finished(self) -> bool:
        """Say whether nothing is left to do."""
        counters, patience = self.state.counters, self.config.training.patience
        stale = patience is not None and counters.evaluations_without_better >= patience
        return counters.step >= self.total_steps or stale


def begin(
    config: Config,
    model: LanguageModel | None,
    tokenizer: Tokenizer | None,
    batches: BatchSource | None,
    resume: bool,
    say: Say,
) -> Job:
    """Open the run directory, plan, prepare the data, build the state, resume what is there."""
    out = config.logging.model_save_path
    run = RunDirectory(Path(out) if out else new_run_dir("run"))
    resuming = run.exists()
    if resuming and not resume:
        raise UsageError(f"{run.path} already holds a run; choose another --out, or resume it")
    if not resuming:
        _refuse_foreign_files(run)
    last = _last_checkpoint(run, say) if resuming else None
    start = open_start(config, last, model, tokenizer, say)
    plan = _plan(config, run, say) if resuming else make_plan(config)
    torch.set_num_threads(plan.threads)
    data = _open_data(config, run, start.tokenizer, say)
    if resuming:
        _check_data(run, data)
    tokenizer = tokenizer or data.tokenizer
    asked, config = config, config.for_data(data.manifest["prompts"])
    batches = batches or _batches(config, data)
    total_steps = config.training.max_steps or batches.steps(config.training.num_epochs or 1)
    config = config.for_length(total_steps)
    if config.model.init and last is None:
        _tell_of_little(config, data, total_steps, say)
    memory, room = _memory(config, plan, start.model, tokenizer, say)
    model = start.model or build_model(config, tokenizer)
    keep_base(run, model, tokenizer, anew=last is None)
    apply_transforms(model, config, plan)
    state = TrainState(model, build_optimizer(model, config.training), Counters())
    if last is not None:
        state.take_up(last)
        say(f"resuming {last}")
    if resuming:
        run.rewind(state.counters.step or -1)  # what was measured before step 1 is measured anew
    # What a table of pairs learns of prompts says nothing about answers.
    baseline = None if config.by_document else _bigram_loss(data, tokenizer)
    _write_facts(asked, run, plan, data, baseline)
    return Job(
        config=config,
        run=run,
        plan=plan,
        data=data,
        tokenizer=tokenizer,
        batches=batches,
        state=state,
        total_steps=total_steps,
        memory=memory,
        room=room,
        bigram_loss=baseline,
        separator=_separator(config, data),
        question=_question(config, data, tokenizer),
    )


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


def _question(config: Config, data: Dataset, tokenizer: Tokenizer) -> str:
    """Return a held-out prompt to show what the model answers; none: it begins by itself."""
    if not (config.by_document and data.manifest["prompts"] and len(data.val.documents)):
        return ""
    start, target, _ = data.val.documents.read(0, 1)
    return tokenizer.decode(data.val.read(int(start[0]), int(target[0])).tolist())


def _memory(
    config: Config, plan: Plan, model: LanguageModel | None, tokenizer: Tokenizer, say: Say
) -> tuple[MemoryEstimate, int | None]:
    """Estimate what the run takes and what there is; say what would help if it is too much."""
    size = model.config.vocab_size if model else config.model.vocab_size or tokenizer.vocab_size
    shape = model.config if isinstance(model, GPT2) else None
    held = sum(p.numel() * p.element_size() for p in model.parameters()) if model else 0
    estimate = estimate_memory(config, plan, size, shape, held)
    room = available_memory(plan.device)
    if room is not None and estimate.step - held > room:
        remedy = cheapest_fit(config, plan, size, room + held, shape)
        hint = remedy or "a smaller model is needed here"
        say(f"memory: {estimate.describe()}; only {gigabytes(room)} is free: {hint}")
    return estimate, room


def _batches(config: Config, data: Dataset) -> BatchSource:
    form = DocumentBatches if config.by_document else Batches
    training = config.training
    return form(data.train, training.batch_size, config.sequence_length, training.seed)


def _bigram_loss(data: Dataset, tokenizer: Tokenizer) -> float | None:
    return bigram_loss(data.train, data.val, tokenizer.vocab_size)


def _separator(config: Config, data: Dataset) -> int | None:
    """Return the id at which attention and positions restart, if they are to."""
    if config.masks_documents and data.separator is None:
        raise ConfigError(["data.mask_documents: this is one text, without documents to part"])
    return data.separator if config.masks_documents else None


def _refuse_foreign_files(run: RunDirectory) -> None:
    """Keep a new run from writing over or among files that no run of ours left there."""
    if (run.path / "manifest.json").exists():
        raise UsageError(f"{run.path} is a data or model directory; choose another --out")
    names = ("metrics.jsonl", "samples.txt", "loss.png", "best", "latest")
    for path in (run.path / name for name in names):
        if path.exists() and not run.checkpoints():
            raise UsageError(f"{path} exists and {run.path} is no run; choose another --out")


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
        return {"plan": plan_from_dict(facts["plan"]), "data": facts["data"]}
    except (KeyError, TypeError) as error:
        raise DataError(f"{run.facts_path} lacks {error}: another version wrote it") from None


def _data_facts(data: Dataset) -> dict[str, Any]:
    return {
        key: data.manifest[key] for key in ("sources", "recipe", "vocab_size", "tokenizer_sha256")
    }


def _check_data(run: RunDirectory, data: Dataset) -> None:
    """Refuse to go on with other data than the run was begun with."""
    if _facts(run)["data"] != _data_facts(data):
        raise DataError(
            f"{data.folder} is not the data {run.path} was begun with; use another --out"
        )


def _plan(config: Config, run: RunDirectory, say: Say) -> Plan:
    """Return the recorded plan of a run, after checking that it may go on under `config`."""
    stored = stored_config(run.path).config
    old, new = schema.flatten(stored), schema.flatten(config)
    changed = {key for key in old if old[key] != new[key] and not key.startswith("logging.")}
    if fixed := sorted(changed - _FREE_KEYS):
        told = ", ".join(f"{key} ({old[key]} there, {new[key]} here)" for key in fixed)
        raise ConfigError(
            [f"{run.path} was begun with another {told}; use its values or another --out"]
        )
    plan = _facts(run)["plan"]
    here = make_plan(config)
    if changed & _PLAN_KEYS:
        say(f"{run.path}: new plan, so losses may differ in their last digits: {here.describe()}")
        return here
    if torch.device(plan.device) != torch.device(find_device(config.training.device)):
        say(f"{run.path}: {plan.device} is not here; new plan: {here.describe()}")
        return here
    if (plan.machine, plan.threads) != (here.machine, here.threads):
        say(f"{run.path}: begun on {plan.machine}, {plan.threads} threads; its plan is kept")
    return plan


def _last_checkpoint(run: RunDirectory, say: Say) -> Path | None:
    """Return the newest checkpoint that verifies; None if there is none yet."""
    folder = run.latest(say)
    if folder is None and run.checkpoints():
        raise DataError(f"no checkpoint under {run.path} verifies; it cannot be resumed")
    return folder


def _write_facts(
    config: Config, run: RunDirectory, plan: Plan, data: Dataset, baseline: float | None
) -> None:
    """Write run.json, then config.yaml: with the latter the run counts as begun."""
    facts: dict[str, Any] = {
        "minigpt2": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "plan": plan_to_dict(plan),
        "data": _data_facts(data),
        "bigram_loss": baseline,
    }
    replace_file(run.facts_path, sealed(facts))
    text = yaml.safe_dump(asdict(config), sort_keys=False)
    text = f"# written by minigpt2 {facts['minigpt2']}\n{text}"
    replace_file(run.config_path, text.encode())
