"""`minigpt2 eval`: measure a model's loss on a whole split."""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from minigpt2.files import replace_file


def eval(
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
        Text file, data directory or data set name; default: what the run was trained on.
    split
        Which part of the data: the validation end, the training beginning, or all of it.
    window
        Targets a window; default: the model's block_size.
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
    from minigpt2.checkpoints import load_checkpoint, resolve_model
    from minigpt2.evaluation import evaluate
    from minigpt2.tokenizers import replacing_unknown
    from minigpt2.training import find_device

    folder = resolve_model(model, lambda line: print(line, file=sys.stderr))
    network, tokenizer = load_checkpoint(folder)
    tokenizer = replacing_unknown(tokenizer, unknown)
    with tempfile.TemporaryDirectory() as scratch:
        stream, source = _open_split(folder, tokenizer, data, split, Path(scratch))
        result = evaluate(network.to(find_device(device)), stream, window, stride)
    record = {**dataclasses.asdict(result), "model": str(folder), "data": source, "split": split}
    content = json.dumps(record, indent=1)
    run_dir = folder.parent
    if (run_dir / "config.yaml").is_file():
        replace_file(run_dir / "evaluation.json", (content + "\n").encode())
    if out is not None:
        replace_file(out, (content + "\n").encode())
    if json_output:
        print(content)
    else:
        _print_table(record)
    return 0


def _open_split(folder: Path, tokenizer, data: str | None, split: str, scratch: Path):
    """Return the stream to score and its name: the run's own data, or a text encoded afresh."""
    from minigpt2.data import open_dataset, read_text, write_dataset
    from minigpt2.errors import DataError, InputMissingError
    from minigpt2.settings import resolve

    val_fraction = 0.1
    if data is None:
        run_dir = folder.parent
        if not (run_dir / "config.yaml").is_file():
            raise InputMissingError(f"{folder} is not part of a run; say what to score: --data")
        section = resolve(config_path=run_dir / "config.yaml", environment={}).config.data
        kept = run_dir / "data"
        data, val_fraction = section.input_file, section.val_fraction
        source = kept if kept.is_dir() else Path(data)
    else:
        source = Path(data)
    if (source / "manifest.json").is_file() and split != "all":
        dataset = open_dataset(source)
        if dataset.tokenizer.to_json() != tokenizer.to_json():
            raise DataError(f"{source} was prepared with another tokenizer than the model's")
    else:
        text = read_text(data)
        fraction = 1.0 if split == "all" else val_fraction
        dataset = write_dataset(scratch / "data", text, tokenizer, fraction)
    return (dataset.train if split == "train" else dataset.val), str(data)


def _print_table(record: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name in ("loss", "perplexity", "bits_per_byte"):
        table.add_row(name.replace("_", " "), f"{record[name]:.4f}")
    protocol = f"windows of {record['window']}, stride {record['stride']}"
    table.add_row("protocol", f"{record['tokens']:,} tokens, {protocol}, fp32")
    table.add_row("data", f"{record['data']}, {record['split']}")
    Console().print(table)
