"""A prompt loop: a line in, the model's continuation out, until 'quit' or the end of input."""

import sys
from collections.abc import Callable

from minigpt2.errors import DataError
from minigpt2.generation import Sampling, generate
from minigpt2.model import LanguageModel
from minigpt2.terminal.plain import printable
from minigpt2.tokenizers import Tokenizer

PROMPT = "> "


def chat_loop(model: LanguageModel, tokenizer: Tokenizer, sampling: Sampling) -> None:
    """Read prompts and stream continuations; Ctrl-C stops an answer, Ctrl-D and 'quit' leave."""
    ask = _asker()
    seed = sampling.seed
    while True:
        try:
            prompt = ask()
        except EOFError:
            return
        except KeyboardInterrupt:
            continue
        if prompt.strip() in ("quit", "exit"):
            return
        try:
            for piece in generate(model, tokenizer, prompt, sampling.with_seed(seed)):
                print(printable(piece), end="", flush=True)
        except KeyboardInterrupt:
            print("\n(stopped)", end="")
        except DataError as error:
            print(f"minigpt2: {error}", end="", file=sys.stderr)
        print()
        seed = (seed + 1) % (1 << 63)  # the same prompt again gets another answer


def _asker() -> Callable[[], str]:
    """Return a function that reads one prompt: with line editing in a terminal, plain in a pipe."""
    if not sys.stdin.isatty():
        return input
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()
    return lambda: session.prompt(PROMPT)
