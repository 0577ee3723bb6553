"""`minigpt2 tokenize`: show a text as a tokenizer sees it."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from minigpt2.cli.options import say
from minigpt2.errors import UsageError

_COLOURS = ("on blue", "on green", "on magenta", "on cyan")  # neighbours differ


def tokenize(
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    *,
    tokenizer: str = "gpt2",
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Show the ids and pieces of a text, in colour where the terminal has it.

    Parameters
    ----------
    text
        The text; "-", or nothing, reads standard input.
    tokenizer
        gpt2, byte, char, or a run, checkpoint, data or model directory.
    json_output
        Print one JSON object with ids and pieces.
    """
    if text is None and sys.stdin.isatty():
        raise UsageError("no text: give one in quotes, or - to read standard input")
    content = sys.stdin.read() if text in (None, "-") else text
    if len(content) < 256 and Path(content).is_file():
        say(f"this is the name of a file; its text: minigpt2 tokenize - < {content}")
    from minigpt2.interop import resolve_model
    from minigpt2.tokenizers import make_tokenizer

    given = Path(tokenizer)
    if given.is_dir() and not (given / "tokenizer.json").exists():
        tokenizer = str(resolve_model(tokenizer, say))
    chosen = make_tokenizer(tokenizer, [content])
    ids = chosen.encode(content)
    # Bytes that are no whole character are written as such: \xe2 is a third of a dash.
    pieces = [chosen.decode_bytes([i]).decode("utf-8", "backslashreplace") for i in ids]
    if json_output:
        print(json.dumps({"ids": ids, "pieces": pieces, "vocab_size": chosen.vocab_size}))
    else:
        _show(ids, pieces, len(content))
    return 0


def _show(ids: list[int], pieces: list[str], characters: int) -> None:
    from rich.console import Console
    from rich.text import Text

    from minigpt2.text import printable

    console = Console(highlight=False)
    shown, numbers = Text(), Text()
    for place, (number, piece) in enumerate(zip(ids, pieces, strict=True)):
        word = printable(piece.replace("\n", "⏎\n"))
        style = f"white {_COLOURS[place % len(_COLOURS)]}" if console.color_system else ""
        border = "" if console.color_system or place == 0 else "|"
        shown.append(border).append(word, style)
        numbers.append(" " if place else "").append(str(number), style)
    console.print(shown, soft_wrap=True)
    console.print(numbers, soft_wrap=True)
    console.print(f"{len(ids)} tokens, {characters} characters", style="dim")
