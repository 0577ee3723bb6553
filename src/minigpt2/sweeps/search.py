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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from minigpt2 import config as schema
from minigpt2.checkpoints import RunDirectory
from minigpt2.config import Config
from minigpt2.data import Recipe, prepare
from minigpt2.data.batches import mix
from minigpt2.errors import (
    ConfigError,
    DataError,
    InputMissingError,
    MiniGPT2Error,
    StorageError,
    UnavailableError,
    UsageError,
    is_out_of_memory,
)
from minigpt2.files import parse_json, read_json, read_sealed, replace_file, sealed, storage_errors
from minigpt2.sweeps.events import Record, SweepEnded, SweepEvent, TrialBegun, TrialEnded
from minigpt2.sweeps.outcome import ranked, with_values, write_outcome
from minigpt2.sweeps.space import Dimension, cells, check_listed, parse_space
from minigpt2.training import (
    Evaluated,
    Event,
    Finished,
    Started,
    available_memory,
    estimate_memory,
    gigabytes,
    make_plan,
    train,
)

Say = Callable[[str], None]
# Trials are compared after a tenth of their run, three tenths and nine tenths; at each of these
# rungs the best third goes on.
_FIRST_RUNG, _REDUCTION = 10, 3
_RUNG = "completed_rung_"  # how Optuna's pruner calls what it notes at a trial


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
        space = parse_space(list(self.space))
        if self.sampler == "grid":
            check_listed(space)
        return space

    def is_grid(self) -> bool:
        """Say whether every combination of values is tried."""
        listed = all(dimension.choices for dimension in self.dimensions())
        return self.sampler == "grid" or (self.sampler == "auto" and listed)

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
    interrupted = False
    while len(records) < trials and not interrupted:
        trial = _Trial(shared, search, out_dir, records)
        yield from trial.run(stop, say)
        interrupted = trial.interrupted
        if not interrupted:
            records.append(trial.record)
            _append(out_dir / "trials.jsonl", trial.record)
            _drop_checkpoints(out_dir, records)
            yield TrialEnded(trial.record, trials)
            interrupted = stop() and len(records) < trials
    best = next(iter(ranked(records)), None)
    write_outcome(out_dir, config, search.dimensions(), records)
    yield SweepEnded(out_dir, records, best, interrupted)


class _Trial:
    """One choice of values: its runs, seed after seed, and what is put on record of them."""

    def __init__(
        self, shared: Config, search: Search, out_dir: Path, records: list[Record]
    ) -> None:
        self.number, self.interrupted, self._search = len(records) + 1, False, search
        self._place = out_dir / "trials" / f"{self.number:04d}"
        self._base, self._asked = shared, _ask(search, records)
        self._reported: set[int] = set()
        values = dict(self._asked.params)
        self.record: Record = {"trial": self.number, "values": values, "state": "complete"}
        self.record |= {"loss": None, "losses": {}, "curves": {}, "total_steps": 0, "seconds": 0.0}

    def run(self, stop: Callable[[], bool], say: Say) -> Iterator[SweepEvent]:
        values, losses = self.record["values"], self.record["losses"]
        try:
            config = with_values(self._base, values)
            _refuse_what_does_not_fit(config)
            for seed in self._search.seeds:
                yield TrialBegun(self.number, self._search.count(), values, seed)
                yield from self._run_seed(config, seed, stop, say)
                if self.interrupted or self.record["state"] == "pruned":
                    break
        except (StorageError, UnavailableError, InputMissingError):
            raise  # the next trial would fare no better
        except ConfigError as error:
            if self._place.exists():  # a run that cannot be taken up again: moved, perhaps
                raise
            self._fail(error)
        except (MiniGPT2Error, MemoryError, RuntimeError) as error:
            if not isinstance(error, MiniGPT2Error) and not is_out_of_memory(error):
                raise
            self._fail(error)
        if self.record["state"] == "complete" and losses:
            self.record["loss"] = statistics.fmean(losses.values())
        attributes = self._asked.study.trials[-1].system_attrs.items()
        self.record["rungs"] = {name: v for name, v in attributes if name.startswith(_RUNG)}

    def _fail(self, error: Exception) -> None:
        self.record |= {"state": "failed", "reason": str(error).splitlines()[0][:300]}

    def _run_seed(
        self, config: Config, seed: int, stop: Callable[[], bool], say: Say
    ) -> Iterator[Event]:
        run = RunDirectory(self._place / f"seed-{seed}")
        config = replace(
            config,
            training=replace(config.training, seed=seed),
            logging=replace(config.logging, sample_interval=None, model_save_path=str(run.path)),
        )
        pruning = self._search.prune and seed == self._search.seeds[0]
        for event in train(config, stop=stop, say=say):
            yield event
            if isinstance(event, Started):
                self.record["total_steps"] = event.total_steps
            if isinstance(event, Started | Evaluated) and pruning and self._is_behind(run):
                self.record["state"] = "pruned"
                break
            if isinstance(event, Finished) and event.reason == "interrupted":
                self.interrupted = True
                return
        log = run.read_log()
        points = {e["step"]: e["val_loss"] for e in log if "val_loss" in e and e["step"] > 0}
        self.record["losses"][str(seed)] = min(points.values())
        self.record["curves"][str(seed)] = [list(point) for point in points.items()]
        self.record["seconds"] = round(self.record["seconds"] + log[-1]["seconds"], 3)

    def _is_behind(self, run: RunDirectory) -> bool:
        """Report every evaluation so far to the pruner, and say whether it has seen enough.

        Of a run that is taken up again those from before come first: rungs are passed in order.
        """
        total = self.record["total_steps"]
        for entry in run.read_log() if run.metrics_path.exists() else []:
            share = 100 * entry["step"] // total
            if "val_loss" in entry and share not in self._reported and 0 < entry["step"] < total:
                self._reported.add(share)
                self._asked.report(entry["val_loss"], share)
                if self._asked.should_prune():
                    return True
        return False


def _ask(search: Search, records: list[Record]) -> Any:
    """Return Optuna's next trial, after what is on record."""
    optuna = _optuna()
    space, number = search.dimensions(), len(records)
    distributions = {dimension.key: _distribution(optuna, dimension) for dimension in space}
    seed = mix(mix(0) ^ number) % (1 << 32)
    kinds = optuna.samplers
    sampler = kinds.RandomSampler if search.sampler == "random" else kinds.TPESampler
    pruner = optuna.pruners.SuccessiveHalvingPruner(_FIRST_RUNG, _REDUCTION)
    study = optuna.create_study(sampler=sampler(seed=seed), pruner=pruner)
    for record in records:
        study.add_trial(_told(optuna, record, distributions))
    if search.is_grid():
        study.enqueue_trial(cells(space)[number])
    return study.ask(distributions)


def _told(optuna: Any, record: Record, distributions: dict[str, Any]) -> Any:
    """Return a finished trial as Optuna knows it.

    A failed one counts as pruned before its first evaluation: a place to avoid.
    """
    complete, states = record["state"] == "complete", optuna.trial.TrialState
    curve = next(iter(record["curves"].values()), []) if record["state"] == "pruned" else []
    return optuna.trial.create_trial(
        state=states.COMPLETE if complete else states.PRUNED,
        value=record["loss"] if complete else None,
        params=record["values"],
        distributions=distributions,
        system_attrs=record["rungs"],
        intermediate_values={100 * step // record["total_steps"]: loss for step, loss in curve},
    )


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    kinds, log = optuna.distributions, dimension.scale == "log"
    if dimension.scale == "listed":
        return kinds.CategoricalDistribution(dimension.choices)
    if schema.hint(dimension.key) is int:
        return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=log)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=log)


def _optuna() -> Any:
    try:
        with warnings.catch_warnings():  # tqdm's, about widgets that nobody asked for
            warnings.simplefilter("ignore")
            import optuna
    except ImportError:
        raise UnavailableError('a sweep needs Optuna: pip install "minigpt2[sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _refuse_what_does_not_fit(config: Config) -> None:
    """Raise MiniGPT2Error before a trial asks for more memory than there is.

    Some systems kill the whole program instead of refusing.
    """
    plain = replace(config.training, dtype="float32", attention="fused")  # nothing to measure
    plan = make_plan(replace(config, training=plain))
    vocab_size = config.model.vocab_size or 0
    if (source := Path(config.data.input_file) / "manifest.json").is_file():
        vocab_size = max(vocab_size, read_json(source)["vocab_size"])
    needed, room = (
        estimate_memory(config, plan, max(1, vocab_size)).step,
        available_memory(plan.device),
    )
    if room is not None and needed > room:
        raise MiniGPT2Error(
            f"out of memory before it began: it takes about {gigabytes(needed)}, and "
            f"{gigabytes(room)} is free"
        )


def _begin(config: Config, search: Search, out_dir: Path) -> None:
    """Put on record what is searched, or check that it is what this sweep was begun with."""
    search.dimensions()
    _optuna()
    path = out_dir / "sweep.json"
    wanted = {"config": schema.flatten(config), "search": asdict(search)}
    if path.exists():
        stored, search_there = stored_search(out_dir)
        there = {"config": schema.flatten(stored), "search": asdict(search_there)}
        changed = {
            f"{key} ({there[part][key]} there, {value} here)"
            for part, values in wanted.items()
            for key, value in values.items()
            if there[part][key] != value and key not in ("trials", "logging.model_save_path")
        }
        if changed:
            raise ConfigError(
                [f"{out_dir} was begun with another {', '.join(sorted(changed))}; use its values "
                 "or another --out"]
            )  # fmt: skip
    elif out_dir.exists() and not (out_dir.is_dir() and not any(out_dir.iterdir())):
        raise UsageError(f"{out_dir} holds something that is no sweep; choose another --out")
    replace_file(path, sealed(json.loads(json.dumps(wanted))))


def stored_search(out_dir: Path) -> tuple[Config, Search]:
    """Return what the sweep in `out_dir` was begun with; raises InputMissingError, DataError."""
    path = out_dir / "sweep.json"
    tree = read_sealed(path)
    try:
        search = dict(tree["search"])
        search |= {"space": tuple(search["space"]), "seeds": tuple(search["seeds"])}
        return schema.build(tree["config"]), Search(**search)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is no sweep of this version: {error}") from None


def _shared_data(config: Config, out_dir: Path, say: Say) -> Config:
    """Prepare the text once for all trials; a model that is trained further has its own tokens."""
    data = config.data
    if config.model.init or (Path(data.input_file) / "manifest.json").is_file():
        return config
    folder = out_dir / "data"
    if not folder.is_dir():
        prepare([data.input_file], folder, Recipe(data.tokenizer, val_fraction=data.val_fraction),
                say=say)  # fmt: skip
    return replace(config, data=replace(data, input_file=str(folder.resolve())))


def read_records(out_dir: Path) -> list[Record]:
    """Return the trials on record, leaving out a last line that a kill tore."""
    path = out_dir / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        replace_file(path, b"".join(lines[:-1]))
        lines.pop()
    records = [parse_json(line, f"{path}, line {n}") for n, line in enumerate(lines, 1)]
    for number, record in enumerate(records, 1):
        try:
            sound = record["trial"] == number and _is_sound(record)
        except (KeyError, TypeError, ValueError, AttributeError):
            sound = False
        if not sound:
            raise DataError(f"{path}, line {number}: this is no record of trial {number}")
    return records


def _is_sound(record: Record) -> bool:
    """Say whether a record is whole; raises one of Python's errors where it is not even that."""
    points = [point for curve in record["curves"].values() for point in curve]
    numbers = [record["seconds"], *record["losses"].values(), *record["rungs"].values()]
    numbers += [number for step, loss in points for number in (step, loss)]
    complete = record["state"] == "complete"
    return (
        all(math.isfinite(number) for number in numbers)
        and record["curves"].keys() == record["losses"].keys()
        and record["state"] in ("complete", "pruned", "failed")
        and (not points or record["total_steps"] >= 1)
        and (record["loss"] == statistics.fmean(record["losses"].values()) if complete else
             record["loss"] is None)
        and bool(record["values"])
    )  # fmt: skip


def _append(path: Path, record: Record) -> None:
    with storage_errors(path), path.open("ab") as file:
        file.write((json.dumps(record) + "\n").encode())


def _drop_checkpoints(out_dir: Path, records: list[Record]) -> None:
    """Keep the weights of the best trial; of the others their logs stay."""
    best = next(iter(ranked(records)), None)
    for record in records:
        if record is not best:
            for folder in (out_dir / "trials" / f"{record['trial']:04d}").glob("seed-*"):
                RunDirectory(folder).drop_checkpoints()
