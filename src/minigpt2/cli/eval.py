"""`minigpt2 eval`: measure a model, say by which protocol, and what that is to be held against."""

import dataclasses
import tempfile
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from minigpt2 import __version__
from minigpt2.cli.options import Opening, say
from minigpt2.config import Config, DataSection, ModelSection
from minigpt2.errors import DataError, InputMissingError, UsageError
from minigpt2.files import json_bytes, replace_file
from minigpt2.settings import stored_config

if TYPE_CHECKING:
    from minigpt2.data import Dataset

Task = Literal["loss", "lambada", "hellaswag", "wikitext-2", "wikitext-103"]
Record = dict[str, Any]
# Which of the options that choose what is measured a task has a use for.
_WIKITEXT = {"stride", "window"}
_OPTIONS = {"loss": {"split", *_WIKITEXT}, "lambada": {"limit"}, "hellaswag": {"limit", "style"}}
_SAMPLE_TOKENS = 500
_MOST_CHARACTERS = 50_000_000  # of a longer training text the beginning is searched for copies


def measure(
    model: str | None = None,
    *,
    task: Task = "loss",
    data: str | None = None,
    split: Literal["train", "val", "all"] | None = None,
    window: int | None = None,
    stride: int | None = None,
    style: Literal["harness", "completion"] | None = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    samples: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    unknown: str | None = None,
    device: str = "auto",
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
    out: Path | None = None,
) -> int:
    """Measure a model, in fp32: its loss over a whole split, or a task of the field.

    loss: perplexity by token, word and byte, in windows of one stream (or by document, as the run
    was trained), beside what counting reaches. lambada: the last word of a passage. hellaswag: the
    right one of four endings. wikitext-2, wikitext-103: perplexity of the test text.

    A task's context that does not fit the window is cut from the left; an item whose answer alone
    does not fit is left out; both are counted in the result.

    Parameters
    ----------
    model
        Run (its best checkpoint), model directory, or hub name; default: the newest under runs/.
    task
        What to measure.
    data
        For loss: text file, folder, data directory or data set; default: what the run was trained
        on. For a task: its file as published (.jsonl or .parquet); default: fetched.
    split
        Which part of the data: val (its end; the default), train (its beginning), or all.
    window
        Targets a window; default: what the run was trained with, else the model's block_size.
    stride
        Distance between windows; default: the window (disjoint). 1: each token sees a full window.
    style
        Of hellaswag: harness, as lm-evaluation-harness formats it (default), or completion.
    limit
        Only the first so many items of a task.
    samples
        Also write so many texts: how varied they are, and the longest span copied from training.
    unknown
        Character that replaces those a character model does not know.
    device
        auto, cpu, cuda, cuda:N or mps.
    json_output
        Print one JSON object.
    out
        Also write the JSON object to this file.
    """
    given = {"split": split, "window": window, "stride": stride, "style": style, "limit": limit}
    known = _OPTIONS.get(task, _WIKITEXT)
    if unfit := sorted(name for name in given.keys() - known if given[name] is not None):
        fits = ", ".join(f"--{name}" for name in sorted(known))
        raise UsageError(f"--{unfit[0]} means nothing to --task {task}, which takes {fits}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        subject = _Subject(model, Opening(unknown, device), window, scratch)
        if task in ("lambada", "hellaswag"):
            record = _answers(subject, task, data, style, limit)
        elif task == "loss":
            record = _loss(subject, data, split or "val", stride)
        else:
            record = _wikitext(subject, task, data, stride)
    record = {"task": task, **record, "model": subject.folder}
    record |= {"dtype": "float32", "minigpt2": __version__}
    if samples:
        record["writing"] = _writing(subject, samples)
    content = json_bytes(record)
    if json_output:
        print(content.decode(), end="")
    else:
        from minigpt2.terminal.layouts import filled_table

        Console().print(filled_table("measured", record=record, **record))
    if out is not None:
        replace_file(out, content)
    if subject.run is not None:
        replace_file(subject.run.path / "evaluations" / _file_name(record), content)
    return 0


class _Subject:
    """What is measured: the model, and the run it comes from, if it comes from one.

    `config` is the run's, else one that says what of a model is known. `window` is as told, else
    what the model was trained with; texts are encoded in `scratch`.
    """

    def __init__(self, model: str | None, how: Opening, window: int | None, scratch: str) -> None:
        from minigpt2.checkpoints import run_of

        self.folder, self.network, self.tokenizer = how.open(model)
        self.run = run_of(Path(self.folder))
        shape = ModelSection(block_size=self.network.config.block_size)
        known = Config(shape, DataSection(batching="packed"))
        self.config = stored_config(self.run.path).config if self.run else known
        self.window = self.config.sequence_length if window is None else window
        self.scratch = Path(scratch)

    def trained_on(self) -> "Dataset | None":
        """Return the data the run keeps, or was given; None where it is not there prepared."""
        from minigpt2.data import open_dataset

        if self.run and self.run.data_dir.is_dir():
            return open_dataset(self.run.data_dir)
        return _prepared(self.config.data.input_file) if self.run else None


def _loss(subject: _Subject, data: str | None, split: str, stride: int | None) -> Record:
    from minigpt2.data.statistics import count_words, texts
    from minigpt2.evaluation.loss import baselines, evaluate, perplexity

    dataset, source = _open_data(subject, data)
    stream = getattr(dataset, split)
    # Documents are read as they were in training.
    config = subject.config.for_data(dataset.manifest["prompts"])
    by_document = config.by_document
    separator = dataset.separator if config.masks_documents else None
    result = evaluate(subject.network, stream, subject.window, stride, by_document, separator)
    record = {**dataclasses.asdict(result), "data": source, "split": split}
    if not dataset.manifest["separated"]:
        record["documents"] = None  # of one text the splits are no documents
    record |= {"by_document": by_document, "masked": separator is not None}
    if result.bits_per_byte is None:
        return record
    if words := count_words(texts(dataset, stream)):
        by_word = perplexity(result.loss * result.tokens / words)
        record |= {"words": words, "word_perplexity": by_word}
    counted = subject.trained_on() or (dataset if split == "val" else None)
    if counted is not None and len(counted.train) > 1:
        record["baselines"] = baselines(counted.train, stream, subject.tokenizer.vocab_size)
    return record


def _wikitext(subject: _Subject, task: str, data: str | None, stride: int | None) -> Record:
    from minigpt2.evaluation import tasks

    text = "".join(map(tasks.wikitext, tasks.find_files(task, data, say)))
    plain = subject.scratch / "text.txt"
    replace_file(plain, text.encode())
    record = _loss(subject, str(plain), "all", stride)
    window = subject.window
    by_word, words = tasks.word_perplexity(subject.network, subject.tokenizer, text, window)
    record |= {"data": data or task, "split": "test", "references": tasks.REFERENCES[task]}
    return record | {"word_perplexity": by_word, "words": words}


def _answers(
    subject: _Subject, task: str, data: str | None, style: Any, limit: int | None
) -> Record:
    from minigpt2.evaluation import tasks
    from minigpt2.terminal.layouts import ProgressLine

    protocol = {"style": style or "harness"} if task == "hellaswag" else {}
    read = partial(tasks.hellaswag_items, **protocol) if protocol else tasks.lambada_items
    items = chain.from_iterable(map(read, tasks.find_files(task, data, say)))
    with ProgressLine() as line:
        told, window = partial(line.progress, task), subject.window
        result = tasks.ask(subject.network, subject.tokenizer, items, limit, told, window)
    record = {**dataclasses.asdict(result), "data": data or task, "limit": limit, **protocol}
    name = "hellaswag-completion" if style == "completion" else task
    return record | {"references": tasks.REFERENCES[name], "window": window}


def _writing(subject: _Subject, samples: int) -> Record:
    from minigpt2.evaluation.writing import judge
    from minigpt2.generation import Sampling, generate_batch

    sampling = Sampling(_SAMPLE_TOKENS)
    [written] = generate_batch(subject.network, subject.tokenizer, [""], sampling, samples)
    data = subject.trained_on()
    training = _text(data, "train", _MOST_CHARACTERS) if data else None
    held_out = _text(data, "val", sum(map(len, written))) if data else ""
    size = max(1, len(held_out) // samples)
    spans = [held_out[at : at + size] for at in range(0, size * samples, size)]
    return judge(written, training, spans)


def _text(data: "Dataset", split: str, most: int) -> str:
    """Return a split's text, at most so many characters of it."""
    from minigpt2.data.statistics import texts

    found = ""
    for part in texts(data, getattr(data, split)):
        found += part
        if len(found) >= most:
            break
    return found[:most]


def _prepared(folder: str) -> "Dataset | None":
    from minigpt2.data import open_dataset

    return open_dataset(Path(folder)) if (Path(folder) / "manifest.json").is_file() else None


def _open_data(subject: _Subject, data: str | None) -> tuple["Dataset", str]:
    """Return the data to score and its name: the run's own, or a text encoded afresh."""
    from minigpt2.data import Recipe, prepare

    if data is None and subject.run is None:
        raise InputMissingError("this model is not part of a run; say what to score: --data")
    told, tokenizer = subject.config.data, subject.tokenizer
    name = told.input_file if data is None else data
    dataset = subject.trained_on() if data is None else _prepared(name)
    if dataset is None:
        recipe, folder = Recipe(val_fraction=told.val_fraction), subject.scratch / "data"
        return prepare([name], folder, recipe, tokenizer=tokenizer, say=say), name
    if dataset.tokenizer.to_json() != tokenizer.to_json():
        raise DataError(f"{dataset.folder} was prepared with another tokenizer than the model's")
    return dataset, name


def _file_name(record: Record) -> str:
    """Return a name for a measurement: one protocol's newest takes the place of its last."""
    keys = ("split", "style", "limit", "window", "stride")
    parts = [record["task"], Path(record["data"]).stem, *(record.get(key) for key in keys)]
    parts.append(Path(record["model"]).name)
    return "-".join(str(part) for part in parts if part is not None) + ".json"
