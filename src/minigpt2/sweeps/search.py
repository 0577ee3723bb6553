"""Search hyper-parameters: one training run after another, each trial with every seed.

Resuming is a value here too. Finished trials are lines of `trials.jsonl`; the values of trial n are
a function of n and the lines before, so a sweep that was killed asks for them again, gets the
same, and goes on with the run that was broken off. Sampling and pruning are Optuna's (Akiba et al.
2019, arXiv 1907.10902); pruning is asynchronous successive halving (Li et al. 2018, 1810.05934).
"""

import json
import math
import statistics
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from minigpt2 import config as schema
from minigpt2 import errors
from minigpt2.checkpoints import RunDirectory, Say
from minigpt2.config import Config
from minigpt2.data import Recipe, batches, prepare
from minigpt2.files import parse_json, read_json, read_sealed, replace_file, sealed, storage_errors
from minigpt2.sweeps.outcome import Record, best_of, with_values, write_outcome
from minigpt2.sweeps.space import Dimension, cells, parse_space
from minigpt2.training import Evaluated, Event, Finished, Started, make_plan, memory, train
from minigpt2.training.begin import refuse_changes

Begin = Callable[[Config], Iterator[Event]]
# What Optuna takes a trial for: a failed one is as good as pruned, a place to avoid.
_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "PRUNED"}
_RUNG = "completed_rung_"  # how Optuna's pruner calls what it notes at a trial


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


@dataclass(frozen=True)
class Search:
    """What a sweep is told besides the configuration.

    `sampler` auto is grid where all values are listed, else tpe. `trials` None is all of a grid's
    cells, else 20.
    """

    space: tuple[str, ...]
    sampler: Literal["auto", "tpe", "random", "grid"] = "auto"
    trials: int | None = None
    seeds: tuple[int, ...] = (1337,)
    prune: bool = False

    def dimensions(self) -> list[Dimension]:
        """Return the parsed space; raises ConfigError with every mistake."""
        return parse_space(self.space, self.sampler == "grid")

    def is_grid(self) -> bool:
        """Say whether every combination of values is tried."""
        listed = all(dimension.choices for dimension in self.dimensions())
        return listed and self.sampler in ("auto", "grid")

    def count(self) -> int:
        """Return how many trials there are to be."""
        size = len(cells(self.dimensions())) if self.is_grid() else None
        return min(self.trials or size or 20, size or 1 << 62)


def sweep(
    config: Config,
    search: Search,
    out_dir: Path,
    stop: Callable[[], bool] = lambda: False,
    say: Say = lambda line: None,
) -> Iterator[SweepEvent]:
    """Run every trial that is not on record in `out_dir`, yielding what happens.

    The loss of a trial is the mean over its seeds of the lowest whole-split validation loss. A
    trial that diverges, does not fit the memory or cannot be configured is recorded as failed, and
    the sweep goes on. Raises ConfigError for a space that cannot be searched or differs from the
    one `out_dir` was begun with.
    """
    _begin(config, search, out_dir)
    shared = _shared_data(config, out_dir, say)
    records, trials = read_records(out_dir), search.count()
    say(f"{trials} trials of {len(search.seeds)} runs each; {len(records)} are on record")
    begin = partial(train, stop=stop, say=say)
    while len(records) < trials:
        record = yield from _run_trial(shared, search, out_dir, records, begin)
        if record is None:
            break
        records.append(record)
        with storage_errors(path := out_dir / "trials.jsonl"), path.open("ab") as file:
            file.write((json.dumps(record) + "\n").encode())
        _drop_checkpoints(out_dir, records)
        yield TrialEnded(record, trials)
        if stop():
            break
    write_outcome(out_dir, config, search.dimensions(), records)
    yield SweepEnded(out_dir, records, best_of(records), interrupted=len(records) < trials)


def _run_trial(
    shared: Config, search: Search, out_dir: Path, records: list[Record], begin: Begin
) -> Generator[SweepEvent, None, Record | None]:
    """Run the next choice of values, seed after seed; return its record, None if interrupted."""
    number, asked = len(records) + 1, _ask(search, records)
    place, values = out_dir / "trials" / f"{number:04d}", dict(asked.params)
    record: Record = {"trial": number, "values": values, "state": "complete", "loss": None}
    record |= {"losses": {}, "curves": {}, "total_steps": 0, "seconds": 0.0}
    try:
        config = with_values(shared, values)
        _refuse_what_does_not_fit(config)
        for seed in search.seeds:
            yield TrialBegun(number, search.count(), values, seed)
            own: Record = {"training.seed": seed, "logging.sample_interval": None}
            own["logging.model_save_path"] = str(place / f"seed-{seed}")
            pruner = asked if search.prune and seed == search.seeds[0] else None
            if not (yield from _run_seed(with_values(config, own), record, pruner, begin)):
                return None
            if record["state"] == "pruned":
                break
    except (errors.StorageError, errors.UnavailableError, errors.InputMissingError):
        raise  # the next trial would fare no better
    except (errors.MiniGPT2Error, MemoryError, RuntimeError) as error:
        # A run that is there and cannot be taken up again was moved, perhaps.
        lost = isinstance(error, errors.ConfigError) and place.exists()
        told = isinstance(error, errors.MiniGPT2Error) or errors.is_out_of_memory(error)
        if lost or not told:
            raise
        record |= {"state": "failed", "reason": str(error).splitlines()[0][:300]}
    attributes = asked.study.trials[-1].system_attrs.items()
    record["rungs"] = {name: v for name, v in attributes if name.startswith(_RUNG)}
    return record | _losses(record)


def _run_seed(
    config: Config, record: Record, pruner: Any, begin: Begin
) -> Generator[Event, None, bool]:
    """Train one run of a trial and put it on record; return False where it is interrupted."""
    run = RunDirectory(Path(config.logging.model_save_path or ""))
    for event in begin(config):
        yield event
        if isinstance(event, Started):
            record["total_steps"] = event.total_steps
        if isinstance(event, Finished) and event.reason == "interrupted":
            return False
        evaluated = pruner and isinstance(event, Started | Evaluated)
        if evaluated and _is_behind(pruner, run, record["total_steps"]):
            record["state"] = "pruned"
            break
    log = run.read_log()
    curve = [[e["step"], e["val_loss"]] for e in log if "val_loss" in e and e["step"] > 0]
    record["curves"][str(config.training.seed)] = curve
    record["seconds"] = round(record["seconds"] + log[-1]["seconds"], 3)
    return True


def _is_behind(trial: Any, run: RunDirectory, total: int) -> bool:
    """Report every evaluation so far to the pruner, and say whether it has seen enough.

    Of a run that is taken up again those from before come first: rungs are passed in order.
    """
    reported = trial.study.trials[-1].intermediate_values
    for entry in run.read_log() if run.metrics_path.exists() else []:
        share = 100 * entry["step"] // total
        if "val_loss" in entry and share not in reported and 0 < entry["step"] < total:
            reported[share] = entry["val_loss"]
            trial.report(entry["val_loss"], share)
            if trial.should_prune():
                return True
    return False


def _losses(record: Record) -> Record:
    """Return what follows from a trial's curves: the lowest loss of each seed, and their mean."""
    losses = {seed: min(loss for _, loss in curve) for seed, curve in record["curves"].items()}
    complete = record["state"] == "complete"
    return {"losses": losses, "loss": statistics.fmean(losses.values()) if complete else None}


def _ask(search: Search, records: list[Record]) -> Any:
    """Return Optuna's next trial, after what is on record."""
    optuna = _optuna()
    space, number = search.dimensions(), len(records)
    distributions = {dimension.key: _distribution(optuna, dimension) for dimension in space}
    samplers = optuna.samplers
    sampler = samplers.RandomSampler if search.sampler == "random" else samplers.TPESampler
    # Trials are compared after a tenth of their run, three tenths and nine tenths; at each of these
    # rungs the best third goes on.
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=10, reduction_factor=3)
    seed = batches.mix(batches.mix(0) ^ number) % (1 << 32)
    study = optuna.create_study(sampler=sampler(seed=seed), pruner=pruner)
    for record in records:
        curve = next(iter(record["curves"].values()), []) if record["state"] == "pruned" else []
        finished = optuna.trial.create_trial(
            state=optuna.trial.TrialState[_STATES[record["state"]]],
            value=record["loss"],
            params=record["values"],
            distributions=distributions,
            system_attrs=record["rungs"],
            intermediate_values={100 * step // record["total_steps"]: loss for step, loss in curve},
        )
        study.add_trial(finished)
    if search.is_grid():
        study.enqueue_trial(cells(space)[number])
    return study.ask(distributions)


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    kinds, log = optuna.distributions, dimension.scale == "log"
    if dimension.scale == "listed":
        return kinds.CategoricalDistribution(dimension.choices)
    if schema.hint(dimension.key) is int:
        return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=log)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=log)


def _optuna() -> Any:
    with warnings.catch_warnings(action="ignore"):  # tqdm's, of widgets that nobody asked for
        optuna = errors.optional_library("optuna", "sweep", "a sweep needs Optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _refuse_what_does_not_fit(config: Config) -> None:
    """Raise MiniGPT2Error before a trial asks for more memory than there is.

    Some systems kill the whole program instead of refusing.
    """
    plain = replace(config.training, dtype="float32", attention="fused")  # nothing to measure
    plan = make_plan(replace(config, training=plain))
    vocab_size = config.model.vocab_size or 1
    if (source := Path(config.data.input_file) / "manifest.json").is_file():
        vocab_size = max(vocab_size, read_json(source)["vocab_size"])

    def refuse(line: str) -> None:
        raise errors.MiniGPT2Error(f"out of memory before it began; {line}")

    memory.foresee_memory(config, plan, None, vocab_size, refuse)


def _begin(config: Config, search: Search, out_dir: Path) -> None:
    """Put on record what is searched, or check that it is what this sweep was begun with."""
    search.dimensions()
    _optuna()
    path = out_dir / "sweep.json"
    values, searched = schema.flatten(config), asdict(search)
    if path.exists():
        stored, begun = stored_search(out_dir)
        there = schema.flatten(stored) | asdict(begun)
        refuse_changes(out_dir, there, values | searched, {"trials", "logging.model_save_path"})
    elif out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise errors.UsageError(f"{out_dir} holds something that is no sweep; choose another --out")
    replace_file(path, sealed({"config": values, "search": searched}))


def stored_search(out_dir: Path) -> tuple[Config, Search]:
    """Return what the sweep in `out_dir` was begun with; raises InputMissingError, DataError."""
    path = out_dir / "sweep.json"
    tree = read_sealed(path)
    try:
        search = dict(tree["search"])
        search |= {"space": tuple(search["space"]), "seeds": tuple(search["seeds"])}
        return schema.build(tree["config"]), Search(**search)
    except (KeyError, TypeError) as error:
        raise errors.DataError(f"{path} is no sweep of this version: {error}") from None


def _shared_data(config: Config, out_dir: Path, say: Say) -> Config:
    """Prepare the text once for all trials; a model that is trained further has its own tokens."""
    data, folder = config.data, out_dir / "data"
    if config.model.init or (Path(data.input_file) / "manifest.json").is_file():
        return config
    if not folder.is_dir():
        recipe = Recipe(data.tokenizer, val_fraction=data.val_fraction)
        prepare([data.input_file], folder, recipe, say=say)
    return replace(config, data=replace(data, input_file=str(folder.resolve())))


def read_records(out_dir: Path) -> list[Record]:
    """Return the trials on record, leaving out a last line that a kill tore."""
    path = out_dir / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
        replace_file(path, b"".join(lines))
    records = [parse_json(line, f"{path}, line {n}") for n, line in enumerate(lines, 1)]
    for number, record in enumerate(records, 1):
        if not _is_record(record, number):
            raise errors.DataError(f"{path}, line {number}: this is no record of trial {number}")
    return records


def _is_record(record: Record, number: int) -> bool:
    """Say whether a line is the whole record of trial `number`, as this module writes it."""
    try:
        points = [point for curve in record["curves"].values() for point in curve]
        numbers = [record["seconds"], *record["rungs"].values(), *(n for p in points for n in p)]
        return (
            record["trial"] == number
            and record["state"] in _STATES
            and bool(record["values"])
            and record == record | _losses(record)
            and all(map(math.isfinite, numbers))
            and (not points or record["total_steps"] >= 1)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _drop_checkpoints(out_dir: Path, records: list[Record]) -> None:
    """Keep the weights of the best trial; of the others their logs stay."""
    best = best_of(records)
    for folder in (out_dir / "trials").glob("*/seed-*"):
        if best is None or folder.parent.name != f"{best['trial']:04d}":
            RunDirectory(folder).drop_checkpoints()
