"""What came of a sweep: the table, the picture, and the best configuration for `train`."""

import dataclasses
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from minigpt2 import config as schema
from minigpt2.files import replace_file
from minigpt2.reports.figures import COLOURS, png, style
from minigpt2.settings import resolve
from minigpt2.sweeps.space import Dimension

Record = dict[str, Any]  # one finished trial, a line of trials.jsonl
_BLUE, _RED, _GREEN, _, _ORANGE, _ = COLOURS
_LOOKS = {"complete": (_BLUE, "o"), "pruned": (_ORANGE, "."), "failed": (_RED, "x")}


def ranked(records: list[Record]) -> list[Record]:
    """Return the complete trials, the lowest loss first."""
    return sorted((r for r in records if r["state"] == "complete"), key=lambda r: r["loss"])


def best_of(records: list[Record]) -> Record | None:
    """Return the complete trial of the lowest loss, if there is one."""
    return next(iter(ranked(records)), None)


def results_table(keys: Iterable[str], records: list[Record]) -> list[list[str]]:
    """Return head and rows: complete trials by loss, then the others in their order.

    The spread is the sample standard deviation over the seeds of a trial.
    """
    names = [key.split(".")[1] for key in keys]
    rows = [["trial", *names, "loss", "spread", "seeds", "seconds", "state"]]
    for record in sorted(records, key=lambda r: math.inf if r["loss"] is None else r["loss"]):
        losses = list(record["losses"].values())
        spread = f"{statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
        values = [shown(record["values"][key]) for key in keys]
        last = [curve[-1][1] for curve in record["curves"].values()][-1:]  # of what broke off
        loss = f"({last[0]:.4f})" if last else ""
        loss = loss if record["loss"] is None else f"{record['loss']:.4f}"
        state = record["state"] + (f": {record['reason']}" if "reason" in record else "")
        rows.append([str(record["trial"]), *values, loss, spread, str(len(losses)),
                     f"{record['seconds']:.0f}", state])  # fmt: skip
    return rows


def shown(value: Any) -> str:
    """Return a configuration value as people write it.

    >>> shown(0.00123456), shown("cosine")
    ('0.001235', 'cosine')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def equals_of_the_best(records: list[Record]) -> tuple[list[Record], float] | None:
    """Return the trials that chance may have put behind the best one, and how far it reaches.

    Two standard errors of the difference of two trials, by what the seeds of all trials differ.
    None where no trial has two seeds: then nobody knows.
    """
    complete = ranked(records)
    groups = [list(record["losses"].values()) for record in complete]
    freedom = sum(len(losses) - 1 for losses in groups)
    if not freedom:
        return None
    squares = sum(statistics.variance(x) * (len(x) - 1) for x in groups if len(x) > 1)
    reach = 2 * (2 * squares / freedom / len(groups[0])) ** 0.5
    best, *others = complete
    return [r for r in others if r["loss"] - best["loss"] < reach], reach


def write_outcome(
    out_dir: Path, config: schema.Config, space: list[Dimension], records: list[Record]
) -> None:
    """Write results.md and, where a trial is complete, sweep.png and best.yaml."""
    rows = results_table([dimension.key for dimension in space], records)
    rule = ["---"] * len(rows[0])
    lines = ["| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]]]
    replace_file(out_dir / "results.md", ("\n".join(lines) + "\n").encode())
    if complete := ranked(records):
        replace_file(out_dir / "best.yaml", best_yaml(config, complete[0]).encode())
        draw_sweep(space, records, out_dir / "sweep.png")


def with_values(config: schema.Config, values: dict[str, Any]) -> schema.Config:
    """Return the configuration with a trial's values; raises ConfigError where they clash."""
    return resolve(None, None, {}, flags=values, base=schema.flatten(config)).config


def best_yaml(config: schema.Config, best: Record) -> str:
    """Return a file for `train --config`: the sweep's configuration with the best trial's values.

    Its seed is the trial's first, so that the file makes the run that was the best.
    """
    seed = {"training.seed": next(iter(best["losses"])), "logging.model_save_path": None}
    told = dataclasses.asdict(with_values(config, {**best["values"], **seed}))
    head = (
        f"# Trial {best['trial']} of a sweep: validation loss {best['loss']:.4f}, the mean of "
        f"{len(best['losses'])} seeds.\n# It was chosen by that loss, which flatters it a little; "
        "a text nobody chose by says the truth.\n"
    )
    return head + yaml.safe_dump(told, sort_keys=False)


def draw_sweep(space: list[Dimension], records: list[Record], path: Path) -> None:
    """Draw loss against each searched key, and every trial's curve, into a PNG."""
    from matplotlib.figure import Figure

    with style():
        evaluated_often = any(len(c) > 1 for r in records for c in r["curves"].values())
        count = len(space) + evaluated_often
        figure = Figure(figsize=(4.6 * count, 3.8))
        panels = figure.subplots(1, count, squeeze=False)[0]
        for axes, dimension in zip(panels, space, strict=False):
            _draw_key(axes, dimension, records)
        if evaluated_often:
            _draw_trials(panels[-1], records)
        figure.supylabel("validation loss, whole split (nats a token)")
    replace_file(path, png(figure))


def _draw_key(axes: Any, dimension: Dimension, records: list[Record]) -> None:
    """Dots are seeds, small ones where a pruned trial stood; of lists the line joins the means."""
    places = {value: place for place, value in enumerate(dimension.choices)}
    for record in records:
        value, (colour, marker) = record["values"][dimension.key], _LOOKS[record["state"]]
        losses = list(record["losses"].values())
        if record["state"] == "pruned":
            losses = [curve[-1][1] for curve in record["curves"].values()]
        alpha = 0.5 if record["state"] == "complete" else 1
        xs = [places.get(value, value)] * len(losses)
        axes.plot(xs, losses, color=colour, marker=marker, linestyle="", alpha=alpha)
    if places:
        known = [(record["values"][dimension.key], record["loss"]) for record in ranked(records)]
        seen = [value for value in places if value in dict(known)]
        means = [statistics.fmean(loss for v, loss in known if v == value) for value in seen]
        axes.plot([places[value] for value in seen], means, color=_GREEN, label="mean")
        axes.set_xticks(range(len(places)), map(str, places))
        axes.legend()
    elif dimension.scale == "log":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel=dimension.key)


def _draw_trials(axes: Any, records: list[Record]) -> None:
    best = best_of(records)
    for record in sorted(records, key=lambda record: record is best):  # the best above the others
        colour, label = _LOOKS[record["state"]][0], record["state"]
        style: dict[str, Any] = {"color": colour, "linewidth": 0.8, "alpha": 0.6}
        if record is best:
            style, label = {"color": _GREEN, "linewidth": 2}, "best"
        for curve in record["curves"].values():
            shares = [100 * step / record["total_steps"] for step, _ in curve]
            axes.plot(shares, [loss for _, loss in curve], marker=".", label=label, **style)
    lines, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, lines, strict=True))  # each label once
    axes.legend(named.values(), named.keys())
    axes.set(xlabel="% of the run")
