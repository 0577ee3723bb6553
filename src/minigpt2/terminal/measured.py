"""A measurement as people read it: figures, protocol, and what they are to be held against."""

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Record = dict[str, Any]
_NAMES = {
    "accuracy": "accuracy",
    "accuracy_normed": "accuracy, by mean",
    "loss": "loss, nats a token",
    "perplexity": "perplexity a token",
    "word_perplexity": "perplexity a word",
    "bits_per_byte": "bits per byte",
}


def show_measured(record: Record) -> None:
    """Print a measurement as a table."""
    table = Table(show_header=False, box=None)
    for name, value in _rows(record):
        table.add_row(name, Text(value))
    Console().print(table)


def _rows(record: Record) -> Iterator[tuple[str, str]]:
    for key, name in _NAMES.items():
        if record.get(key) is not None:
            of_words = record["task"] == "lambada" and key == "perplexity"
            yield "perplexity of the words" if of_words else name, _figure(record[key])
    for name, loss in record.get("baselines", {}).items():
        behind = "  the model is behind it" if record["loss"] > loss else ""
        yield f"  {name}", f"{loss:.4f}{behind}"
    for name, figures in record.get("references", {}).items():
        yield f"  {name}", "; ".join(_published(*figure) for figure in figures.items())
    yield "protocol", _protocol(record)
    places = record.get("by_position", ())
    if len(places) > 1:
        shown = (f"{place['least']}: {place['loss']:.2f}" for place in places)
        yield "loss after n tokens", "  ".join(shown)
    if documents := record.get("documents"):
        quarters = (documents[name] for name in ("quarter", "median", "three_quarters"))
        low, middle, high = (f"{loss:.3f}" for loss in quarters)
        number, worst = documents["worst"]
        half = f"half of them from {low} to {high}, median {middle}"
        told = f"{half}; worst: number {number} with {worst:.3f}"
        yield f"{documents['count']:,} documents", told
    if "writing" in record:
        yield from _writing(record["writing"])


def _figure(value: Any) -> str:
    """Return a number, or a share with its 95 % interval, in per cent."""
    if isinstance(value, dict):
        low, high = (100 * value[end] for end in ("low", "high"))
        return f"{100 * value['value']:.2f} %  (95 %: {low:.2f} to {high:.2f})"
    return f"{value:.4f}" if value < 1e6 else f"{value:.3g}"


def _published(key: str, value: float) -> str:
    if key.startswith("accuracy"):
        return f"{100 * value:.2f} %{' by mean' * key.endswith('normed')}"
    return f"{key.replace('_', ' ')} {value:.2f}"


def _protocol(record: Record) -> str:
    where = f"{record['data']}" + (f", {record['split']}" if "split" in record else "")
    if "items" not in record:
        each = "each document in " if record["by_document"] else ""
        cut = f"{each}windows of {record['window']}, stride {record['stride']}, fp32"
        apart = "; documents do not see one another" if record["masked"] else ""
        return f"{record['tokens']:,} tokens of {where}; {cut}{apart}"
    notes = [f"{record['items']:,} items of {where}; window {record['window']}, fp32"]
    notes += [f"{record['style']} style"] if "style" in record else []
    notes += [f"{record['cut']:,} contexts cut from the left"] if record["cut"] else []
    if record["left_out"]:
        notes.append(f"{record['left_out']:,} items left out: their answers exceed the window")
    if record["cut"] or record["left_out"]:
        notes.append("published values were measured without that")
    return "; ".join(notes)


def _writing(figures: Record) -> Iterator[tuple[str, str]]:
    shares = (figures[f"distinct_{n}"] for n in (1, 2, 3))
    yield f"{figures['samples']} samples", f"{figures['characters']:,} characters"
    yield "distinct words, pairs, triples", ", ".join(f"{100 * s:.1f} %" for s in shares)
    yield "repeated spans of 4 words", f"{100 * figures['seq_rep_4']:.1f} % within a sample"
    if copied := figures["copied"]:
        usual = figures["held_out"] or {"median": math.nan, "longest": 0}
        here = f"{copied['longest']} characters, median {copied['median']:.0f} a sample"
        unseen = f"unseen text: {usual['longest']}, median {usual['median']:.0f}"
        yield "longest copied from training", f"{here} ({unseen})"
        by_chance = copied["longest"] <= usual["longest"]
        yield "", "no longer than chance makes them" if by_chance else repr(copied["text"][:70])
