"""Statistics as a picture: four small plots in one PNG."""

import io
from pathlib import Path
from typing import Any

from minigpt2.files import replace_file


def draw_statistics(found: dict[str, Any], path: Path) -> None:
    """Draw what `describe` found; raises StorageError where `path` cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(path.absolute().parent.name.replace("$", r"\$"))
    (ranks, frequent), (lengths, sizes) = figure.subplots(2, 2)
    _draw_ranks(ranks, found["rank_frequency"])
    _draw_frequent(frequent, found["most_frequent"])
    _draw_lengths(lengths, found["splits"])
    _draw_sizes(sizes, found["token_bytes"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    replace_file(path, buffer.getvalue())


def _draw_ranks(axes: Any, points: list[list[int]]) -> None:
    axes.loglog([rank for rank, _ in points], [count for _, count in points])
    axes.set(title="how often the n-th most frequent token occurs", xlabel="n", ylabel="times")
    axes.grid(alpha=0.3)


def _draw_frequent(axes: Any, entries: list[dict[str, Any]]) -> None:
    shown = entries[::-1]
    # Escaped: a font has no picture for most of what a token can be, and $ begins mathematics.
    names = [ascii(entry["text"]).replace("$", r"\$") for entry in shown]
    axes.barh(range(len(shown)), [entry["count"] for entry in shown])
    axes.set_yticks(range(len(shown)), names, fontsize=7, family="monospace")
    axes.set(title="most frequent tokens", xlabel="times")


def _draw_lengths(axes: Any, splits: dict[str, Any]) -> None:
    for place, (name, split) in enumerate(splits.items()):
        counts = split["document_tokens"].get("from_power_of_two", [])
        shift = 0.4 * place - 0.2
        axes.bar([i + shift for i in range(len(counts))], counts, width=0.4, label=name)
    axes.set_yscale("symlog", linthresh=1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(
        title="documents by length", xlabel="tokens: from 2 to the power of", ylabel="documents"
    )
    axes.legend(frameon=False)


def _draw_sizes(axes: Any, counts: list[int]) -> None:
    axes.bar(range(1, len(counts) + 1), counts)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(title="tokens in use by length", xlabel="bytes", ylabel="tokens")
