"""Loss curves of one or several runs as a picture."""

from itertools import accumulate
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
        # A dollar sign would begin a formula, a leading underscore hide the entry.
        label = f" {name}: ".replace("$", r"\$") if len(logs) > 1 else ""
        taken = [entry for entry in log if "train_loss" in entry]  # before step 1 there is none
        steps = [entry["step"] for entry in taken]
        losses = [entry["train_loss"] for entry in taken]
        axes.plot(steps, losses, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(
            steps, smoothed(losses), color=colour, linewidth=1.2, label=f"{label}training, smoothed"
        )
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


def smoothed(values: list[float]) -> list[float]:
    """Return the centred moving average over a twentieth of the curve, narrower at its ends.

    Centred, so that a falling curve is not drawn too high.

    >>> smoothed([3.0, 2.0, 1.0])
    [3.0, 2.0, 1.0]
    """
    reach = max(1, len(values) // 40)
    sums = [0.0, *accumulate(values)]
    result = []
    for place in range(len(values)):
        near = min(reach, place, len(values) - 1 - place)
        total = sums[place + near + 1] - sums[place - near]
        result.append(total / (2 * near + 1))
    return result
