"""Figures of training: what is drawn, in which colours, as PNG and as SVG inside a page.

The SVG takes the page's colour for its axes and text, so that one picture serves light and dark.
"""

import contextlib
import html
import io
import re
import statistics
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minigpt2.files import facts, replace_file
from minigpt2.reports.runs import Curve, Log, band, points, smoothed, thinned

# Okabe and Ito 2008: distinct for every kind of colour vision. Their black and yellow are left
# out: each is lost on one of the two backgrounds.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
GRAY = "#8c8c8c"  # on either background
_DASHES = [(), (5, 2), (5, 2, 1, 2), (1.5, 1.5)]  # strokes and gaps, in widths of the line
_INK = "#1c1c20"  # of figures.mplstyle
_MOST_LOOKS = 12  # until colour and dashes come again together
_MARKS = 25  # of one line
_HALF_NAME = 22  # characters: of a longer name a legend has the beginning and the end
_MEANINGS = {"train_loss": "training, smoothed", "val_loss": "validation, whole split"}
_NOISY = ("train_loss", "grad_norm", "tokens_per_second")  # what is smoothed


class Look(NamedTuple):
    """How one curve is told from others."""

    colour: str
    dashes: tuple[float, ...]
    marker: str


_LOOKS = [Look(COLOURS[i % 6], _DASHES[i % 4], "os^DvPX"[i % 7]) for i in range(_MOST_LOOKS)]
_REST = Look(GRAY, (), "")


class Picture(NamedTuple):
    """One figure: its file's name, its title, and which measures it has against what."""

    name: str
    title: str
    x: str
    measures: list[str]


PICTURES = [Picture(**told) for told in facts(str(Path(__file__).with_name("pictures")))]


def draw_curves(logs: dict[str, Log], path: Path, bigram_loss: float | None = None) -> None:
    """Draw training and validation loss against steps, one colour a run, into a PNG at `path`."""
    curves = [Curve(name, [log]) for name, log in logs.items()]
    replace_file(path, png(draw(PICTURES[0], curves, bigram_loss)))


def looks(curves: list[Curve]) -> list[Look]:
    """Return each curve's look; of too many, all but those of the best losses are gray."""
    means = [statistics.mean(curve.losses or [float("inf")]) for curve in curves]
    best = sorted(range(len(curves)), key=means.__getitem__)[:_MOST_LOOKS]
    chosen = iter(_LOOKS)
    return [next(chosen) if i in best else _REST for i in range(len(curves))]


def mean_and_spread(losses: list[float]) -> str:
    """Return the mean, and for several losses their sample standard deviation.

    >>> mean_and_spread([1.5]), mean_and_spread([1.0, 2.0])
    ('1.5000', '1.5000 ± 0.7071')
    """
    spread = f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
    return f"{statistics.mean(losses):.4f}{spread}"


def draw(picture: Picture, curves: list[Curve], bigram_loss: float | None = None) -> Any:
    """Return a picture of curves as a matplotlib Figure; `bigram_loss` is a line in a loss's."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator

    with style():
        axes = (figure := Figure()).subplots()
        for curve, look in zip(curves, looks(curves), strict=True):
            for measure in picture.measures:
                _draw_measure(axes, picture, measure, curve, look, alone=len(curves) == 1)
        if not axes.lines:
            axes.text(0.5, 0.5, "nothing is logged yet", transform=axes.transAxes, ha="center")
        elif bigram_loss is not None and "val_loss" in picture.measures:
            line = axes.axhline(bigram_loss, color=GRAY, linewidth=1.2, linestyle=":")
            line.set_label(f"bigram table {bigram_loss:.4f}")
        axes.set(title=picture.title, xlabel=picture.x)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if picture.name == "gradient-norm" and axes.lines and axes.dataLim.y0 > 0:
            axes.set_yscale("log", subs=[])  # one spike would leave nothing to see of the rest
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
        _draw_legend(figure, axes, picture, curves)
        figure.draw_without_rendering()  # the layout, once for both kinds of file
        figure.set_layout_engine("none")
    return figure


@contextlib.contextmanager
def style(**more: str) -> Iterator[None]:
    """Within the context matplotlib draws as all figures here are drawn."""
    import matplotlib

    sheet = Path(__file__).with_name("figures.mplstyle")
    with matplotlib.rc_context(more, sheet), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|Matplotlib currently does not support")
        yield  # letters that the font lacks are boxes in the PNG


def _draw_measure(
    axes: Any, picture: Picture, measure: str, curve: Curve, look: Look, alone: bool
) -> None:
    """Draw what is logged of one measure of one curve, with its label for the legend."""
    marked, beside = measure in ("val_loss", "gap"), len(picture.measures) > 1
    if alone and marked and beside:
        look = _LOOKS[1]  # not the training loss's
    found = [run for run in (points(log, picture.x, measure) for log in curve.logs) if len(run[0])]
    if measure in _NOISY:
        if len(found) == 1 and alone:
            axes.plot(*thinned(found[0]), color=look.colour, alpha=0.25, linewidth=0.7)
        found = [(xs, smoothed(ys)) for xs, ys in found]
    drawn, spread = [thinned(run) for run in found], band(found)
    if spread is not None:
        places, (low, mean, high) = spread
        axes.fill_between(places, low, high, color=look.colour, alpha=0.22, linewidth=0)
        drawn = [(places, mean)]
    style: dict[str, Any] = {"linewidth": 1.1 if beside and not marked else 1.4}
    if look is _REST:
        style = {"alpha": 0.5, "linewidth": 0.6, "zorder": 1.5}
    style |= {"color": look.colour, "linestyle": (0, look.dashes or None)}
    for xs, ys in drawn:
        every = max(1, len(xs) // _MARKS)
        axes.plot(xs, ys, marker=look.marker if marked else "", markevery=every, **style)
    if drawn and look is not _REST:
        axes.lines[-1].set_label(_label(measure, curve, alone))


def _label(measure: str, curve: Curve, alone: bool) -> str:
    """Return what a line means; beside others a curve has one label for all measures."""
    name = _MEANINGS.get(measure, "") if alone else curve.label
    if len(name) > 2 * _HALF_NAME:
        name = f"{name[:_HALF_NAME]}…{name[-_HALF_NAME:]}"
    told = curve.losses and (not alone or measure == "val_loss")
    # A leading underscore would hide it.
    return f" {name}, best {mean_and_spread(curve.losses)}" if told else name and f" {name}"


def _draw_legend(figure: Any, axes: Any, picture: Picture, curves: list[Curve]) -> None:
    """Put the legend beneath the axes, and make the figure higher by what it takes."""
    # Of a curve's measures, which have one label and one colour, the last stands for all.
    lines, labels = axes.get_legend_handles_labels()
    entries = {(label, line.get_color()): line for label, line in zip(labels, lines, strict=True)}
    notes = {
        "thin: training, smoothed; with marks: validation": len(curves) > 1 < len(picture.measures),
        "line and band: mean, lowest and highest of seeds": any(len(c.logs) > 1 for c in curves),
        f"gray: {len(curves) - _MOST_LOOKS} more, none better": len(curves) > _MOST_LOOKS,
    }
    title = "\n".join(note for note, holds in notes.items() if holds)
    columns = 2 if all(len(label) < 36 for label, _ in entries) else 1
    rows = -(-len(entries) // columns) + len(title.splitlines())
    figure.set_figheight(figure.get_figheight() + 0.2 * rows)
    if entries:
        place = {"loc": "outside lower center", "ncols": columns, "title": title or None}
        figure.legend(list(entries.values()), [label for label, _ in entries], **place)


def png(figure: Any) -> bytes:
    """Return a figure as PNG, on white."""
    content = io.BytesIO()
    with style():
        figure.savefig(content, format="png")
    return content.getvalue()


def svg(figure: Any, name: str, label: str) -> str:
    """Return a figure as an element of a page, without one id twice; `label` says what it shows.

    The same figure is the same text, whenever it is drawn.
    """
    content = io.StringIO()
    with style(**{"svg.hashsalt": name}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    start = f'<svg role="img" aria-label="{html.escape(label)}" '
    for found, instead in (
        (r'(?s)\A.*?<svg[^>]*(viewBox="[^"]*")[^>]*', lambda svg: start + svg[1]),
        # Of the ids those of groups are names of ours that no one refers to.
        (r'(?s)<metadata>.*?</metadata>|<style.*?</style>|(?<=<g) id="[^"]*"', ""),
        (r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0])),
        (r"(?<=font-family: )'DejaVu Sans'[^;\"<]*", "system-ui, sans-serif"),
        (_INK, "currentColor"),
        (r"xlink:href", "href"),
    ):
        text = re.sub(found, instead, text)
    return text
