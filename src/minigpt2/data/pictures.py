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
    ranks.loglog(*zip(*found["rank_frequency"], strict=True))
    ranks.set(title="how often the n-th most frequent token occurs", xlabel="n", ylabel="times")
    ranks.grid(alpha=0.3)
    shown = found["most_frequent"][::-1]
    # Escaped: a font has no picture for most of what a token can be, and $ begins mathematics.
    names = [ascii(entry["text"]).replace("$", r"\$") for entry in shown]
    frequent.barh(range(len(shown)), [entry["count"] for entry in shown])
    frequent.set_yticks(range(len(shown)), names, fontsize=7, family="monospace")
    frequent.set(title="most frequent tokens", xlabel="times")
    for place, (name, split) in enumerate(found["splits"].items()):
        counts = split["document_tokens"].get("from_power_of_two", [])
        shift = 0.4 * place - 0.2
        lengths.bar([i + shift for i in range(len(counts))], counts, width=0.4, label=name)
    lengths.set_yscale("symlog", linthresh=1)
    lengths.xaxis.get_major_locator().set_params(integer=True)
    lengths.set(title="documents by length", xlabel="tokens: from 2 to the power of")
    lengths.set_ylabel("documents")
    lengths.legend(frameon=False)
    sizes.bar(range(1, len(found["token_bytes"]) + 1), found["token_bytes"])
    sizes.xaxis.get_major_locator().set_params(integer=True)
    sizes.set(title="tokens in use by length", xlabel="bytes", ylabel="tokens")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    replace_file(path, buffer.getvalue())
