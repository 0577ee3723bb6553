"""The page of a report: tables, figures and samples in one file that asks nothing of anyone.

It has no script and refers to no other file. What runs say (names, samples, evaluations) is only
ever text in it.
"""

import html
import json
import math
import shlex
from pathlib import Path, PurePath
from string import Template
from typing import Any

from minigpt2 import __version__
from minigpt2.errors import UsageError
from minigpt2.files import replace_file
from minigpt2.reports import figures, runs
from minigpt2.reports.curves import best_loss, number
from minigpt2.reports.figures import Look
from minigpt2.reports.runs import Run, Say, one_line
from minigpt2.text import printable

_GENERATOR = b'<meta name="generator" content="minigpt2 '
_SAMPLED_RUNS, _SAMPLES, _SAMPLE_CHARACTERS = 12, 5, 2000
_UNKNOWN = "–"
_KEYS = (
    "model data split loss perplexity word_perplexity bits_per_byte accuracy accuracy_normed items"
    " tokens window stride"
)


def write_report(paths: list[Path], out_dir: Path, say: Say) -> Path:
    """Write index.html and its figures as PNGs into `out_dir`; return the page's path.

    Raises what `read_runs` does, and UsageError where a file of these names is not a report's.
    """
    page_path = out_dir / "index.html"
    _check_place(out_dir, page_path)
    groups = runs.group_runs(runs.read_runs(paths, say))
    curves = [runs.curve_of(group) for group in groups]
    every = [run for group in groups for run in group]
    bigrams = {number(run.facts.get("bigram_loss")) for run in every}
    baseline = bigrams.pop() if len(bigrams) == 1 else None
    parts = {
        "version": __version__,
        "title": _text(every[0].name) if len(every) == 1 else f"{len(every)} runs",
        "style": _own("page.css"),
        "lead": _lead(every),
        "runs": _runs(groups, figures.looks(curves)),
        "samples": _samples([group[0] for group in groups][:_SAMPLED_RUNS]),
        "evaluations": _evaluations(every, say),
        "command": _text(shlex.join(["minigpt2", "report", *runs.short_names(paths)])),
    }
    pictures = {}
    for picture in figures.PICTURES:
        figure = figures.draw(picture, curves, baseline)
        label = f"{picture.title} against {picture.x}: {', '.join(c.label for c in curves[:12])}"
        parts[picture.name.replace("-", "_")] = figures.svg(figure, picture.name, label)
        pictures[out_dir / f"{picture.name}.png"] = figures.png(figure)
    # The page first: by it the next report knows that the pictures may be replaced.
    replace_file(page_path, Template(_own("page.html")).substitute(parts).encode())
    for path, content in pictures.items():
        replace_file(path, content)
    return page_path


def _check_place(out_dir: Path, page_path: Path) -> None:
    """Keep a report from being written over what is no report."""
    if out_dir.suffix in (".html", ".png", ".svg") or (out_dir.exists() and not out_dir.is_dir()):
        raise UsageError(f"--out is a folder for the page and its pictures, not {out_dir}")
    targets = [page_path, *(out_dir / f"{picture.name}.png" for picture in figures.PICTURES)]
    there = [path for path in targets if path.exists()]
    if there and not (page_path.is_file() and _GENERATOR in page_path.read_bytes()[:2000]):
        raise UsageError(f"{there[0]} is not a report's and is not touched; choose another --out")


def _own(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _text(value: Any) -> str:
    return html.escape(one_line(value))


def _figure(value: Any) -> str:
    """Return a number as a table shows it, and anything else as text."""
    if value is None:
        return _UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _text(value)
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    return f"{value:.4f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.4g}"


def _lead(every: list[Run]) -> str:
    found = [(best, run.name) for run in every if (best := best_loss(run.log))]
    if not found:
        return "No evaluation is logged yet."
    if len({json.dumps(run.facts.get("data")) for run in every}) > 1:
        return "The runs read different data: their losses cannot be compared."
    (loss, step), name = min(found)
    return (
        f"Best validation loss: <strong>{loss:.4f}</strong> nats a token over the whole split, "
        f"{_text(name)} at step {step:,}."
    )


def _table(name: str, rows: list[dict[str, str]]) -> str:
    """Return a table of cells that are HTML; it scrolls by itself where the page is narrower."""
    heads = "".join(f'<th scope="col">{column}</th>' for column in rows[0])
    lines = ""
    for row in rows:
        first, *others = (row.get(column, "") for column in rows[0])
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        lines += f'<tr><th scope="row">{first}</th>{cells}</tr>\n'
    table = f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table>"
    return f'<div class="wide" role="region" aria-label="{name}" tabindex="0">{table}</div>'


def _runs(groups: list[list[Run]], looks: list[Look]) -> str:
    rows, notes = [], ""
    for group, look in zip(groups, looks, strict=True):
        rows += [_run_row(run, look) for run in group]
        losses = runs.curve_of(group).losses
        if len(losses) > 1:
            title = f"<small>mean ± standard deviation of {len(losses)} seeds</small>"
            rows.append({"run": title, "best validation loss": figures.mean_and_spread(losses)})
        for run in group:
            logged = [e[key] for key in ("train_loss", "val_loss") for e in run.log if key in e]
            if lost := sum(number(loss) is None for loss in logged):
                told = f"{_text(run.name)}: {lost} of {len(logged)} losses are no number."
                notes += f'\n<p class="note">{told}</p>'
    return _table("Runs", rows) + notes


def _run_row(run: Run, look: Look) -> dict[str, str]:
    config, (loss, step) = run.config, best_loss(run.log) or (None, None)
    data, plan = (run.facts.get(key) or {} for key in ("data", "plan"))
    tokenizer = data.get("recipe", {}).get("tokenizer") or config.get("data.tokenizer", _UNKNOWN)
    last = {
        key: value for entry in run.log for key, value in entry.items() if number(value) is not None
    }
    dashes = " ".join(str(3 * length) for length in look.dashes) or "none"
    swatch = Template(_own("swatch.svg")).substitute(colour=look.colour, dashes=dashes)
    return {
        "run": swatch + _text(run.name),
        "best validation loss": _figure(loss),
        "at step": _figure(step),
        "bigram table": _figure(number(run.facts.get("bigram_loss"))),
        "steps": _figure(last.get("step")),
        "seconds": f"{last.get('seconds', 0):,.1f}",
        "parameters": _figure(run.shape.get("parameters")),
        "layers / heads / width / context": _shape(run),
        "tokenizer": _text(PurePath(tokenizer).name),
        "symbols": _figure(data.get("vocab_size")),
        "batch": _figure(config.get("training.batch_size")),
        "learning rate": _text(config.get("training.learning_rate", _UNKNOWN)),
        "seed": _text(config.get("training.seed", _UNKNOWN)),
        "plan": _text(", ".join(f"{key} {value}" for key, value in plan.items())) or _UNKNOWN,
    }


def _shape(run: Run) -> str:
    if run.config.get("model.kind") == "bigram":
        return "bigram"
    known = {key.removeprefix("model."): value for key, value in run.config.items()}
    known = run.shape or ({} if known.get("init") else known)
    known = {"n_positions": known.get("block_size", _UNKNOWN), **known}
    sizes = (known.get(key, _UNKNOWN) for key in ("n_layer", "n_head", "n_embd", "n_positions"))
    return " / ".join(map(_text, sizes))


def _samples(shown: list[Run]) -> str:
    parts = []
    for run in shown:
        samples = runs.read_samples(run, _SAMPLES)
        parts += [f"<h3>{_text(run.name)}</h3>"] if samples else []
        for step, sample in samples:
            text = html.escape(printable(sample.strip("\n")[:_SAMPLE_CHARACTERS]))
            kind = "details open" if step == samples[-1][0] else "details"
            # HTML drops a line's end right behind <pre>: one is put there.
            parts.append(f"<{kind}><summary>step {step}</summary><pre>\n{text}</pre></details>")
    return "\n".join(parts) or "<p>No sample is written yet.</p>"


def _evaluations(every: list[Run], say: Say) -> str:
    found = [(run, record) for run in every for record in runs.read_evaluations(run, say)]
    keys = [key for key in [*_KEYS.split(), "baselines"] if any(key in tree for _, tree in found)]
    rows = [
        {"run": _text(run.name), "task": _text(record.get("task") or "loss")}
        | {key.replace("_", " "): _evaluated(record, key) for key in keys}
        for run, record in found
    ]
    return _table("Evaluations", rows) if rows else "<p>None yet: minigpt2 eval adds them.</p>"


def _evaluated(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if key in ("data", "model") and value is not None:
        return _text(PurePath(str(value)).name)  # where it lay is nobody's business
    if key == "baselines" and isinstance(value, dict):
        return ", ".join(f"{_text(name)} {_figure(loss)}" for name, loss in value.items())
    if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():  # a share
        return "{} ({} to {})".format(*(_figure(value[end]) for end in ("value", "low", "high")))
    return _figure(value)
