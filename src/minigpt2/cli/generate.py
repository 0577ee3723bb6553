"""`minigpt2 generate`: write text with a model."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from minigpt2.cli.options import Opening, SamplingFlags, say
from minigpt2.errors import DataError, UsageError
from minigpt2.files import replace_file
from minigpt2.sampling import Sampling
from minigpt2.settings import read_named
from minigpt2.text import printable

if TYPE_CHECKING:
    from minigpt2.generation import Piece
    from minigpt2.generation.speed import Speed
    from minigpt2.tokenizers import Tokenizer

_MOST_SAMPLES = 10_000  # in one call
# A log-probability can be minus infinity, which JSON does not have: OpenAI's stand-in for it.
_LEAST_LOGPROB = -9999.0


def generate(
    model: str | None = None,
    *,
    prompt: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    prompt_file: Path | None = None,
    prompts: Path | None = None,
    n: Annotated[int, Parameter(alias="-n")] = 1,
    sampling: SamplingFlags = Sampling(),  # noqa: B008 (frozen)
    show_probs: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    opening: Opening = Opening(),  # noqa: B008 (frozen)
    out: Path | None = None,
) -> int:
    """Write text with a model; the prompt comes first, then what the model adds.

    Parameters
    ----------
    model
        Run or checkpoint directory; default: the newest under runs/, else the one that comes along.
    prompt
        The beginning; "-" reads it from standard input. Empty: from <|endoftext|> or a newline.
    prompt_file
        A file that is the prompt.
    prompts
        A file of prompts, one a line (.jsonl: {"prompt": ...}), all written side by side.
    n
        Number of samples of a prompt; sample i takes seed + i.
    show_probs
        Colour what is written by how probable the model held it.
    as_json
        A JSON object for each sample, one a line.
    out
        Write to this file instead of standard output.
    """
    texts = _read_prompts(prompt, prompt_file, prompts)
    several = n * len(texts) > 1
    if n < 1 or n * len(texts) > _MOST_SAMPLES:
        raise UsageError(
            f"--n must be at least 1, and samples at most {_MOST_SAMPLES} in all, not {n} of "
            f"{len(texts)} prompts"
        )
    if show_probs and (out is not None or as_json or several):
        raise UsageError("--show-probs shows one sample on the screen; --logprobs 1 --json has all")
    _, network, tokenizer = opening.open(model)
    from minigpt2.generation import engine_for, prompt_ids, stream
    from minigpt2.generation.speed import Speed, read_gbps

    if show_probs and sampling.logprobs is None:
        sampling = replace(sampling, logprobs=0)
    ids = [prompt_ids(tokenizer, text) for text in texts]
    if opening.unknown is not None:  # what the model reads is what is shown
        texts = [tokenizer.decode(tokenizer.encode(text)) for text in texts]
    _tell(texts, ids, tokenizer)
    if out is not None and out.is_file():
        raise UsageError(f"{out} exists already; choose another name, or remove it first")
    engine = engine_for(network, tokenizer, ids, sampling, n)
    speed = Speed(engine.slots)
    pieces = _counted(stream(engine, tokenizer, ids, sampling, n), speed)
    if not (several or out or as_json):
        _show(texts[0], pieces, show_probs)
    else:
        samples = enumerate(_samples(texts, pieces, n, tokenizer), 1)
        titled = (_as_text(sample, number if several else None) for number, sample in samples)
        _write((_json_line(sample) for _, sample in samples) if as_json else titled, out)
    if speed.tokens:
        share = speed.bandwidth_share(network, gbps := read_gbps(next(network.parameters()).device))
        of_memory = "" if share is None else f"; {share:.0%} of the memory's {gbps:.0f} GB/s"
        say(speed.describe() + of_memory)
    return 0


@dataclass
class _Sample:
    """A sample as far as it has come."""

    prompt: str
    sample: int
    text: str = ""
    finish_reason: str | None = None
    prompt_tokens_left_out: int = 0
    window_slides: int = 0
    tokens: list[dict[str, Any]] = field(default_factory=list)


def _samples(
    texts: list[str], pieces: "Iterable[Piece]", n: int, tokenizer: "Tokenizer"
) -> Iterator[_Sample]:
    """Yield the samples in the order of the prompts, each when it and all before it are done."""
    waiting = {(i, j): _Sample(text, j) for i, text in enumerate(texts) for j in range(n)}
    for piece in pieces:
        sample = waiting[piece.prompt, piece.sample]
        sample.text += piece.text
        token = piece.token
        if token is not None and token.logprob is not None:
            top = [_token(*pair, tokenizer) for pair in token.top]
            sample.tokens.append(_token(token.id, token.logprob, tokenizer) | {"top": top})
        if piece.ended:
            sample.finish_reason = piece.ended
            sample.prompt_tokens_left_out, sample.window_slides = piece.cut, piece.slides
        while waiting and (first := next(iter(waiting.items())))[1].finish_reason:
            yield waiting.pop(first[0])


def _token(token_id: int, logprob: float, tokenizer: "Tokenizer") -> dict[str, Any]:
    logprob = max(logprob, _LEAST_LOGPROB)
    return {"id": token_id, "text": tokenizer.decode([token_id]), "logprob": logprob}


def _json_line(sample: _Sample) -> str:
    told = {name: value for name, value in vars(sample).items() if value != []}
    return json.dumps(told, ensure_ascii=False) + "\n"


def _as_text(sample: _Sample, number: int | None) -> str:
    title = "" if number is None else f"--- sample {number} ---\n"
    return f"{title}{sample.prompt}{sample.text}\n"


def _tell(texts: list[str], ids: list[list[int]], tokenizer: "Tokenizer") -> None:
    """Say what a person may not expect."""
    if "" in texts:
        start = "<|endoftext|>" if ids[texts.index("")][0] == tokenizer.eos_id else "a newline"
        say(f"no prompt: the text starts from {start}")
    if tokenizer.chat_template is not None:
        say("this model was trained on conversations: minigpt2 chat asks it as it was trained")


def _counted(pieces: "Iterable[Piece]", speed: "Speed") -> "Iterator[Piece]":
    """Pass pieces on, telling the clock; say where a prompt or a window was cut."""
    cut, slides = 0, 0
    for piece in pieces:
        speed.count(piece)
        cut, slides = max(cut, piece.cut), max(slides, piece.slides)
        yield piece
    if cut:
        say(f"the prompt was too long: its first {cut} tokens were left out")
    if slides:
        say(f"the window was full and slid on, {slides} times")


def _show(prompt: str, pieces: "Iterable[Piece]", show_probs: bool) -> None:
    """Write one sample as it comes."""
    from rich.console import Console

    from minigpt2.terminal.writing import Writing

    writing = Writing(Console(), show_probs)
    writing.text(prompt)
    for piece in pieces:
        writing.piece(piece)
    writing.text("\n")
    if show_probs:
        Console(stderr=True).print(writing.legend() or "")


def _write(parts: Iterator[str], out: Path | None) -> None:
    if out is not None:
        replace_file(out, "".join(parts).encode("utf-8", "replace"))
        say(f"wrote {out}")
        return
    for part in parts:
        sys.stdout.write(printable(part) if sys.stdout.isatty() else part)
        sys.stdout.flush()


def _read_prompts(prompt: str | None, prompt_file: Path | None, many: Path | None) -> list[str]:
    given = {"--prompt": prompt, "--prompt-file": prompt_file, "--prompts": many}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"give one of {' and '.join(named)}")
    if prompt_file is not None:
        return [read_named(prompt_file, "prompt", "prompts are read from a text file")]
    if many is None:
        return [sys.stdin.read() if prompt == "-" else prompt or ""]
    from minigpt2.data.readers import rows_of, text_of

    found = [text_of(row, "prompt", place) for row, place in rows_of(many, plain="prompt")]
    if not found:
        raise DataError(f"{many} holds no prompt")
    return found
