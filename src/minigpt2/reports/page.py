"""The page of a report: tables, figures and samples in one file that asks nothing of anyone.

It has no script and refers to no other file. Its layout is page.html, a template that escapes what
runs say (names, samples, evaluations): all of it is only ever text in the page.
"""

import json
import math
import shlex
from pathlib import Path, PurePath
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Undefined

from minigpt2 import __version__
from minigpt2.checkpoints import Say
from minigpt2.errors import UsageError
from minigpt2.files import replace_file
from minigpt2.reports import figures, runs

_GENERATOR = b'<meta name="generator" content="minigpt2 '
_UNKNOWN = "–"
_SHOWN_RUNS, _SAMPLES = 12, 5
_EVALUATED = (
    "model data split loss perplexity word_perplexity bits_per_byte accuracy accuracy_normed items"
    " tokens window stride baselines"
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
    evaluations = [(run, record) for run in every for record in runs.read_evaluations(run, say)]
    bigrams = {runs.number(run.facts.get("bigram_loss")) for run in every}
    baseline = bigrams.pop() if len(bigrams) == 1 else None
    drawn = {p.name: figures.draw(p, curves, baseline) for p in figures.PICTURES}
    names = ", ".join(curve.label for curve in curves[:_SHOWN_RUNS])
    bests = [(*best, run.name) for run in every if (best := runs.best_loss(run.log))]
    shown = {p.name: f"{p.title} against {p.x}: {names}" for p in figures.PICTURES}
    page = _template().render(
        version=__version__,
        command=shlex.join(["minigpt2", "report", *runs.short_names(paths)]),
        runs=every,
        best=min(bests, default=None),
        comparable=len({json.dumps(run.facts.get("data")) for run in every}) == 1,
        groups=list(zip(groups, curves, figures.looks(curves), strict=True)),
        samples=[(run, runs.read_samples(run, _SAMPLES)) for run, *_ in groups[:_SHOWN_RUNS]],
        evaluations=evaluations,
        columns=[key for key in _EVALUATED.split() if any(key in row for _, row in evaluations)],
        pictures={name: figures.svg(drawn[name], name, shown[name]) for name in drawn},
    )
    # The page first: by it the next report knows that the pictures may be replaced.
    replace_file(page_path, page.encode())
    for name, figure in drawn.items():
        replace_file(out_dir / f"{name}.png", figures.png(figure))
    return page_path


def _check_place(out_dir: Path, page_path: Path) -> None:
    """Keep a report from being written over what is no report."""
    if out_dir.suffix in (".html", ".png", ".svg") or (out_dir.exists() and not out_dir.is_dir()):
        raise UsageError(f"--out is a folder for the page and its pictures, not {out_dir}")
    targets = [page_path, *(out_dir / f"{picture.name}.png" for picture in figures.PICTURES)]
    there = [path for path in targets if path.exists()]
    if there and not (page_path.is_file() and _GENERATOR in page_path.read_bytes()[:2000]):
        raise UsageError(f"{there[0]} is not a report's and is not touched; choose another --out")


def _template() -> Any:
    """Return page.html; whatever it fills in is made fit to be shown, and then escaped."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        undefined=ChainableUndefined,  # a run may lack any of what the page would tell
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"mean_and_spread": figures.mean_and_spread, "best_loss": runs.best_loss}
    templates.filters["last_part"] = lambda path: PurePath(str(path)).name
    return templates.get_template("page.html")


def _shown(value: Any) -> Any:
    """Return a value as the page shows it: numbers short, pairs by commas, the rest as a line."""
    if value is None or isinstance(value, Undefined):
        return _UNKNOWN
    if hasattr(value, "__html__"):  # it is escaped already
        return value
    if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():  # a share
        return "{} ({} to {})".format(*(_shown(value[end]) for end in ("value", "low", "high")))
    if isinstance(value, dict):
        value = ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return runs.one_line(value) or _UNKNOWN
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    return f"{value:.4f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.4g}"
