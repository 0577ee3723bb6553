"""`minigpt2 prepare`: any text in, token shards out."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from minigpt2.errors import UsageError

if TYPE_CHECKING:
    from minigpt2.data import Dataset, Recipe
    from minigpt2.terminal.preparing import ProgressLine

_FORMATS = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"]
_ALL_RULES = "all"
_GPT2_VOCABULARY = 50257  # too large for the small preset


def prepare(
    *inputs: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path | None = None,
    tokenizer: str = "bpe:4096",
    split: Literal["auto", "position", "document"] = "auto",
    val_fraction: float = 0.1,
    val: Annotated[list[str] | None, Parameter(consume_multiple=False)] = None,
    field: str | None = None,
    format: _FORMATS = "auto",
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
    _check_inputs(inputs, out)
    from minigpt2.data import DOCUMENT_RULES, RULES, Recipe, with_statistics
    from minigpt2.terminal.preparing import ProgressLine

    rules = tuple(filter(None, map(str.strip, (clean or "").split(","))))
    recipe = Recipe(
        tokenizer=tokenizer,
        split=split,
        val_fraction=val_fraction,
        val=tuple(val or ()),
        field=field,
        format=format,
        rules=(*RULES, DOCUMENT_RULES[0]) if _ALL_RULES in rules else rules,
        min_length=min_length,
        skip_bad=skip_bad,
        specials=tuple(special or ()),
        shard_tokens=shard_tokens,
    )
    try:
        with ProgressLine(Console(stderr=True)) as line:
            data = _open(inputs, out, recipe) or _prepare(inputs, out, recipe, line)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    _print_summary(data.manifest)
    tokens = len(data.all)
    if verify:
        with ProgressLine(Console(stderr=True)) as line:
            data.all.verify(line.counter("verifying", tokens))
        print(f"every block is intact: {tokens:,} tokens", file=sys.stderr)
    if stats:
        with ProgressLine(Console(stderr=True)) as line:
            found = with_statistics(data, line.counter("counting", tokens))
        _show_statistics(found, data.folder / "statistics.png")
    _say_next(data)
    return 0


def _check_inputs(inputs: tuple[str, ...], out: Path | None) -> None:
    if not inputs:
        raise UsageError(
            "no input: give a file, a folder, a data set's name, or - for a pipe. "
            "See minigpt2 prepare --help"
        )
    for name in inputs:
        if name.startswith("-") and name != "-":
            raise UsageError(f"unknown option {name}{_nearest(name)}. See minigpt2 prepare --help")
    if "" in inputs or (out is not None and not str(out)):
        raise UsageError("an empty name is no file")


def _nearest(option: str) -> str:
    import difflib
    import inspect

    known = [f"--{name.replace('_', '-')}" for name in inspect.signature(prepare).parameters]
    close = difflib.get_close_matches(option.split("=")[0], known[1:], n=1)
    return f", did you mean {close[0]}?" if close else ""


def _open(inputs: tuple[str, ...], out: Path | None, recipe: "Recipe") -> "Dataset | None":
    """Open a directory that is prepared already; None: the input is a text."""
    from minigpt2.data import Recipe, open_dataset

    folder = Path(inputs[0])
    if len(inputs) > 1 or not (folder / "manifest.json").is_file():
        return None
    if out is not None or recipe != Recipe():
        raise UsageError(
            f"{folder} is prepared already, and only --stats and --verify work on it; "
            "give the text itself to prepare it in another way"
        )
    return open_dataset(folder)


def _prepare(
    inputs: tuple[str, ...], out: Path | None, recipe: "Recipe", line: "ProgressLine"
) -> "Dataset":
    from minigpt2.concurrency import available_cores
    from minigpt2.data import prepare

    folder, cores = out or Path("data") / _name(inputs[0]), available_cores()
    return prepare(inputs, folder, recipe, processes=cores, say=line.say, progress=line.progress)


def _name(first: str) -> str:
    """Return a short name for the data directory, made from the first input.

    >>> _name("books/my novel.txt.gz"), _name("-"), _name("https://example.org/a.parquet?x=1")
    ('my-novel', 'stdin', 'a')
    """
    import re

    if first == "-":
        return "stdin"
    tail = first.split("?")[0].split("#")[0].rstrip("/").split("/")[-1]
    return re.sub(r"[^\w-]+", "-", tail.split(".")[0]).strip("-") or "text"


def _print_summary(manifest: dict[str, Any]) -> None:
    table = Table("", box=None)
    for heading in ("documents", "characters", "tokens", "characters/token", "files"):
        table.add_column(heading, justify="right")
    for name, split in manifest["splits"].items():
        sizes = [f"{split[key]:,}" for key in ("documents", "characters", "tokens")]
        ratio = f"{split['characters'] / max(1, split['tokens']):.2f}"
        table.add_row(name, *sizes, ratio, str(len(split["shards"])))
    console = Console(highlight=False, markup=False)
    console.print(table)
    how = {"position": "by position", "document": "by document", "files": "as given"}
    console.print(
        f"{manifest['vocab_size']:,} tokens in the vocabulary, {manifest['dtype']}; "
        f"split {how[manifest['split']]}"
    )
    for rule, report in manifest["cleaning"].items():
        touched = f"{report['characters']:,} characters in {report['documents']:,} documents"
        console.print(f"{rule}: {touched}{_example(report)}")


def _example(report: dict[str, Any]) -> str:
    if not report["example"]:
        return ""
    before, after = (ascii(part) if part else "nothing" for part in report["example"])
    return f", as in {before[:80]} -> {after[:80]}"


def _show_statistics(found: dict[str, Any], picture: Path) -> None:
    from minigpt2.data.pictures import draw_statistics
    from minigpt2.terminal.preparing import statistics_table

    draw_statistics(found, picture)
    Console().print(statistics_table(found))
    print(f"drawn: {picture}", file=sys.stderr)


def _say_next(data: "Dataset") -> None:
    """Name the next command, if the data is enough to train on."""
    if len(data.val) < 2:
        print("the validation split is too small to train with", file=sys.stderr)
        return
    own_merges = 256 < data.manifest["vocab_size"] < _GPT2_VOCABULARY
    more = " --preset shakespeare-bpe" if own_merges else ""
    if prompts := data.manifest["prompts"]:
        print(
            f"{prompts:,} documents are prompts with answers; documents as rows leave the prompts "
            "out of what is learnt",
            file=sys.stderr,
        )
        more += " --data.batching documents"
    print(f"\nminigpt2 train {shlex.quote(str(data.folder))}{more}", file=sys.stderr)
