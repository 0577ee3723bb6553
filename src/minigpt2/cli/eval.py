"""`minigpt2 eval`: measure a model's loss on a whole split."""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from minigpt2.config import Config
from minigpt2.errors import DataError, InputMissingError
from minigpt2.files import replace_file
from minigpt2.settings import stored_config

if TYPE_CHECKING:
    from minigpt2.data import Dataset
    from minigpt2.tokenizers import Tokenizer


def measure(
    model: str | None = None,
    *,
    data: str | None = None,
    split: Literal["train", "val", "all"] = "val",
    window: int | None = None,
    stride: int | None = None,
    unknown: str | None = None,
    device: str = "auto",
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
    out: Path | None = None,
) -> int:
    """Measure loss, perplexity and bits per byte over a whole split, in fp32.

    Parameters
    ----------
    model
        Run or checkpoint directory; default: the newest under runs/.
    data
        Text file, folder, data directory or data set name; default: what the run was trained on.
    split
        Which part of the data: the validation end, the training beginning, or all of it.
    window
        Targets a window; default: what the run was trained with, else the model's block_size.
    stride
        Distance between windows; default: the window (disjoint).
    unknown
        Character that replaces those a character model does not know.
    device
        auto, cpu, cuda, cuda:N or mps.
    json_output
        Print one JSON object.
    out
        Also write the JSON object to this file.
    """
    from minigpt2.checkpoints import run_of
    from minigpt2.evaluation import evaluate
    from minigpt2.interop import open_model, resolve_model
    from minigpt2.tokenizers import replacing_unknown
    from minigpt2.training import find_device

    target = find_device(device)
    folder = resolve_model(model, _say)
    network, tokenizer = open_model(folder, _say)
    tokenizer = replacing_unknown(tokenizer, unknown)
    run = run_of(folder)
    run_dir = run.path if run else folder
    config = stored_config(run_dir).config if run else None
    if window is None and config is not None:
        window = config.sequence_length
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        dataset, source = _open_data(run_dir, config, tokenizer, data, Path(scratch))
        result = evaluate(
            network.to(target), getattr(dataset, split), window, stride, **_form(config, dataset)
        )
    record = {**dataclasses.asdict(result), "model": str(folder), "data": source, "split": split}
    content = (json.dumps(record, indent=1) + "\n").encode()
    if config is not None:
        name = f"eval-{Path(source).stem}-{split}-{result.window}-{result.stride}.json"
        replace_file(run_dir / "evaluations" / name, content)
    if out is not None:
        replace_file(out, content)
    if json_output:
        print(content.decode(), end="")
    else:
        _print_table(record)
    return 0


def _form(config: Config | None, dataset: "Dataset") -> dict[str, Any]:
    """Return how the run this model comes from has read documents: it is measured so, too."""
    if config is None:
        return {}
    config = config.for_data(dataset.manifest["prompts"])
    separator = dataset.separator if config.masks_documents else None
    return {"by_document": config.by_document, "separator": separator}


def _open_data(
    run_dir: Path, config: Config | None, tokenizer: "Tokenizer", data: str | None, scratch: Path
) -> tuple["Dataset", str]:
    """Return the data to score and its name: the run's own, or a text encoded afresh."""
    from minigpt2.data import Recipe, open_dataset, prepare

    name = config.data.input_file if data is None and config else data
    if name is None:
        raise InputMissingError("this model is not part of a run; say what to score: --data")
    kept = run_dir / "data"
    source = kept if data is None and kept.is_dir() else Path(name)
    if source != kept and not (source / "manifest.json").is_file():
        recipe = Recipe(val_fraction=config.data.val_fraction if config else 0.1)
        return prepare([name], scratch / "data", recipe, tokenizer=tokenizer, say=_say), name
    dataset = open_dataset(source)
    if dataset.tokenizer.to_json() != tokenizer.to_json():
        raise DataError(f"{source} was prepared with another tokenizer than the model's")
    return dataset, name


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _print_table(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name in ("loss", "perplexity", "bits_per_byte"):
        if record[name] is not None:
            table.add_row(name.replace("_", " "), f"{record[name]:.4f}")
    protocol = f"windows of {record['window']}, stride {record['stride']}"
    table.add_row("protocol", f"{record['tokens']:,} tokens, {protocol}, fp32")
    table.add_row("data", f"{record['data']}, {record['split']}")
    Console().print(table)
