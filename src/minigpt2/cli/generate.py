"""`minigpt2 generate`: write text with a model."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from minigpt2.errors import InputMissingError, UsageError
from minigpt2.files import replace_file

_MOST_SAMPLES = 10_000  # they are generated as one batch


def generate(
    model: str | None = None,
    *,
    prompt: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    prompt_file: Path | None = None,
    n: Annotated[int, Parameter(alias="-n")] = 1,
    max_new_tokens: int = 500,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True)] = None,
    stop_at_newline: bool = False,
    seed: int = 1337,
    unknown: str | None = None,
    device: str = "auto",
    out: Path | None = None,
) -> int:
    """Write text with a model; the prompt comes first, then what the model adds.

    Parameters
    ----------
    model
        Run or checkpoint directory; default: the newest under runs/.
    prompt
        The beginning; "-" reads it from standard input. Empty: from a newline.
    prompt_file
        A file with the prompt.
    n
        Number of samples; sample i takes seed + i.
    max_new_tokens
        Length of a sample.
    temperature
        0 takes the likeliest token, 1 the model's own distribution.
    top_k
        Choose among the k likeliest tokens only.
    top_p
        Choose among the likeliest tokens of this total probability only.
    stop
        Text that ends a sample; may be given several times.
    stop_at_newline
        End a sample at the first line end.
    seed
        The same seed gives the same text.
    unknown
        Character that replaces those a character model does not know.
    device
        auto, cpu, cuda, cuda:N or mps.
    out
        Write to this file instead of standard output.
    """
    text = _read_prompt(prompt, prompt_file)
    if not 1 <= n <= _MOST_SAMPLES:
        raise UsageError(f"--n must be at least 1 and at most {_MOST_SAMPLES}, not {n}")
    from minigpt2.generation import Sampling, generate_many
    from minigpt2.interop import open_model, resolve_model
    from minigpt2.tokenizers import replacing_unknown
    from minigpt2.training import find_device

    stops = (*(stop or ()), *(("\n",) if stop_at_newline else ()))
    sampling = Sampling(max_new_tokens, temperature, top_k, top_p, stops, seed)
    target = find_device(device)
    network, tokenizer = open_model(resolve_model(model, _say), _say)
    tokenizer = replacing_unknown(tokenizer, unknown)
    ids = tokenizer.encode(text)  # an unknown character is told before anything is written
    if unknown is not None:
        text = tokenizer.decode(ids)  # what the model reads is what is shown
    if tokenizer.chat_template is not None:
        _say("this model was trained on conversations: minigpt2 chat asks it as it was trained")
    block_size = network.config.block_size
    if len(ids) + max_new_tokens > block_size:
        _say(f"the window holds {block_size} tokens; it slides on as the text grows")
    pieces = generate_many(network.to(target), tokenizer, text, n, sampling)
    if out is None and n == 1:
        _stream(text, (piece for [piece] in pieces))
        return 0
    samples = [text + "".join(parts) for parts in zip(*pieces, strict=True)] or [text] * n
    content = _separated(samples)
    if out is None:
        _write(content)
    else:
        replace_file(out, content.encode("utf-8", "replace"))
        _say(f"wrote {out}")
    return 0


def _read_prompt(prompt: str | None, prompt_file: Path | None) -> str:
    if prompt is not None and prompt_file is not None:
        raise UsageError("give --prompt or --prompt-file, not both")
    if prompt_file is not None:
        if prompt_file.is_dir():
            raise UsageError(f"{prompt_file} is a directory; --prompt-file takes a text file")
        try:
            return prompt_file.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise InputMissingError(f"no prompt file {prompt_file}") from None
        except UnicodeDecodeError as error:
            raise UsageError(f"{prompt_file} is not UTF-8 at byte {error.start}") from None
    return sys.stdin.read() if prompt == "-" else prompt or ""


def _stream(prompt: str, pieces) -> None:
    """Write pieces as they come; a terminal sees control bytes as pictures, a pipe gets them."""
    _write(prompt)
    for piece in pieces:
        _write(piece)
    _write("\n")


def _write(text: str) -> None:
    from minigpt2.text import printable

    shown = printable(text) if sys.stdout.isatty() else text
    sys.stdout.buffer.write(shown.encode("utf-8", "replace"))
    sys.stdout.flush()


def _separated(samples: list[str]) -> str:
    if len(samples) == 1:
        return samples[0] + "\n"
    return "".join(f"--- sample {i} ---\n{text}\n" for i, text in enumerate(samples, 1))


def _say(line: str) -> None:
    print(line, file=sys.stderr)
