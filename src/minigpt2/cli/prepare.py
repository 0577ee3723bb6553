"""`minigpt2 prepare`: any text in, token shards out."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from minigpt2.cli.options import say
from minigpt2.errors import UsageError

if TYPE_CHECKING:
    from minigpt2.data import Dataset, Recipe

_GPT2_VOCABULARY = 50257  # too large for the small preset


def prepare(
    *inputs: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path | None = None,
    tokenizer: str = "bpe:4096",
    split: Literal["auto", "position", "document"] = "auto",
    val_fraction: float = 0.1,
    val: Annotated[list[str] | None, Parameter(consume_multiple=False)] = None,
    field: str | None = None,
    format: Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"] = "auto",
    clean: str | None = None,
    min_length: int = 0,
    skip_bad: bool = False,
    special: Annotated[list[str] | None, Parameter(consume_multiple=False)] = None,
    stats: bool = False,
    verify: bool = False,
    shard_tokens: int = 100_000_000,
) -> int:
    """Make a data directory of any text; `minigpt2 train DIRECTORY` learns from it.

    Reads .txt .md .jsonl .csv .tsv .parquet, also as .gz .xz .bz2 .zst. A file of text is one
    document, each line of JSONL and each row of a table is one. Interrupted, the same command goes
    on where it stopped; finished, it does nothing. Given a data directory, --stats and --verify
    work on that.

    Parameters
    ----------
    inputs
        Files, folders, "globs", URLs of files, data set names, or - for a pipe.
    out
        The data directory; default: data/NAME after the first input.
    tokenizer
        char, byte, bpe:N (learned from the training text), gpt2, or a directory that has one.
    split
        position: the end is held out; document: documents drawn by a hash of their content;
        auto: by position for one text, by document for several.
    val_fraction
        Share held out for validation.
    val
        Validation files instead; may be given several times.
    field
        Field or column of the text, or PROMPT+ANSWER; default: text.
    format
        How to read files whose name does not say it.
    clean
        Rules with commas between: gutenberg, nfc, controls, quotes, blanks, duplicates; or all.
    min_length
        Leave out documents of fewer characters.
    skip_bad
        Leave out, and count, records that cannot be read.
    special
        A special token for the vocabulary, as in "<|user|>"; may be given several times.
    stats
        Add statistics and a picture of them.
    verify
        Check every block of the result.
    shard_tokens
        Tokens a file.
    """
    _check_inputs(inputs)
    from minigpt2.data import DOCUMENT_RULES, RULES, Recipe, draw_statistics, with_statistics
    from minigpt2.terminal.layouts import ProgressLine, statistics_table, summary

    rules = tuple(filter(None, map(str.strip, (clean or "").split(","))))
    rules = (*RULES, DOCUMENT_RULES[0]) if "all" in rules else rules
    recipe = Recipe(tokenizer, split, val_fraction, tuple(val or ()), skip_bad=skip_bad)
    recipe = replace(recipe, field=field, format=format, rules=rules, min_length=min_length)
    recipe = replace(recipe, specials=tuple(special or ()), shard_tokens=shard_tokens)
    try:
        data = _prepared(inputs, out, recipe)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return 130
    Console(highlight=False, markup=False).print(summary(data.manifest))
    tokens = len(data.all)
    if verify:
        with ProgressLine() as line:
            data.all.verify(line.counter("verifying", tokens))
        say(f"every block is intact: {tokens:,} tokens")
    if stats:
        with ProgressLine() as line:
            found = with_statistics(data, line.counter("counting", tokens))
        picture = data.folder / "statistics.png"
        draw_statistics(found, picture)
        Console().print(statistics_table(found))
        say(f"drawn: {picture}")
    _say_next(data)
    return 0


def _check_inputs(inputs: tuple[str, ...]) -> None:
    import difflib
    import inspect

    options = [f"--{name.replace('_', '-')}" for name in inspect.signature(prepare).parameters][1:]
    for name in inputs:
        if not name:
            raise UsageError("an empty name is no file")
        if name.startswith("-") and name != "-":
            close = difflib.get_close_matches(name.split("=")[0], options, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            raise UsageError(f"unknown option {name}{hint}. See minigpt2 prepare --help")


def _prepared(inputs: tuple[str, ...], out: Path | None, recipe: "Recipe") -> "Dataset":
    """Open a directory that is prepared already, or make one of a text."""
    from minigpt2.concurrency import available_cores
    from minigpt2.data import Recipe, open_dataset, prepare
    from minigpt2.terminal.layouts import ProgressLine

    folder, cores = Path(*inputs[:1]), available_cores()
    if len(inputs) == 1 and (folder / "manifest.json").is_file():
        if out is not None or recipe != Recipe():
            raise UsageError(
                f"{folder} is prepared already, and only --stats and --verify work on it; "
                "give the text itself to prepare it in another way"
            )
        return open_dataset(folder)
    folder = out or Path("data") / _name(*inputs[:1])
    with ProgressLine() as bar:
        return prepare(inputs, folder, recipe, processes=cores, say=bar.say, progress=bar.progress)


def _name(first: str = "") -> str:
    """Return a short name for the data directory, made from the first input.

    >>> _name("books/my novel.txt.gz"), _name("-"), _name("https://example.org/a.parquet?x=1")
    ('my-novel', 'stdin', 'a')
    """
    import re

    if first == "-":
        return "stdin"
    tail = first.split("?")[0].split("#")[0].rstrip("/").split("/")[-1]
    return re.sub(r"[^\w-]+", "-", tail.split(".")[0]).strip("-") or "text"


def _say_next(data: "Dataset") -> None:
    """Name the next command, if the data is enough to train on."""
    if len(data.val) < 2:
        say("the validation split is too small to train with")
        return
    own_merges = 256 < data.manifest["vocab_size"] < _GPT2_VOCABULARY
    more = " --preset shakespeare-bpe" if own_merges else ""
    if prompts := data.manifest["prompts"]:
        say(
            f"{prompts:,} documents are prompts with answers; documents as rows leave the prompts "
            "out of what is learnt"
        )
        more += " --data.batching documents"
    say(f"\nminigpt2 train {shlex.quote(str(data.folder))}{more}")
