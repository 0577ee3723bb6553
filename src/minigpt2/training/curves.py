"""Loss curves of one or several runs as a picture."""

import math
from pathlib import Path
from typing import Any

from minigpt2.files import replace_file

Log = list[dict[str, Any]]
# Okabe and Ito 2008: distinct for every kind of colour vision.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def draw_curves(logs: dict[str, Log], path: Path, bigram_loss: float | None = None) -> None:
    """Draw training and validation loss against steps, one colour a run, into a PNG at `path`."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (name, log) in enumerate(logs.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        label = f"{name}: " if len(logs) > 1 else ""
        steps = [entry["step"] for entry in log]
        losses = [entry["train_loss"] for entry in log]
        axes.plot(steps, losses, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(steps, smoothed(losses), color=colour, linewidth=1.2, label=f"{label}training")
        points = [(entry["step"], entry["val_loss"]) for entry in log if "val_loss" in entry]
        if points:
            best = min(loss for _, loss in points)
            axes.plot(
                *zip(*points, strict=True),
                color="black" if len(logs) == 1 else colour,
                marker="o",
                markersize=4,
                linestyle="--",
                linewidth=1,
                label=f"{label}validation, whole split (best {best:.4f})",
            )
    if bigram_loss is not None:
        axes.axhline(bigram_loss, color="gray", linewidth=1, linestyle=":")
        axes.annotate(
            f"bigram table {bigram_loss:.3f}",
            (1, bigram_loss),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            color="gray",
        )
    axes.set(xlabel="optimizer step", ylabel="loss (nats a token)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    replace_file(path, content.getvalue())


def smoothed(values: list[float], decay: float = 0.8) -> list[float]:
    """Return the exponential moving average, without the bias of its start (Adam's correction).

    >>> smoothed([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    result, mean = [], 0.0
    for number, value in enumerate(values, 1):
        mean = decay * mean + (1 - decay) * value
        result.append(round(mean / (1 - math.pow(decay, number)), 12))
    return result
