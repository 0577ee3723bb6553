"""A prompt loop: a line in, the model's continuation out, until 'quit' or the end of input.

A model trained on conversations is asked as it was trained: the line becomes a turn of the
transcript, and what it adds is its answer. Any other model continues the line.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

from minigpt2.errors import DataError
from minigpt2.generation import Sampling, generate
from minigpt2.model import LanguageModel
from minigpt2.text import printable
from minigpt2.tokenizers import NEXT_TURN, TRANSCRIPT, Tokenizer, transcript

PROMPT = "> "


def chat_loop(model: LanguageModel, tokenizer: Tokenizer, sampling: Sampling) -> None:
    """Read prompts and stream answers; Ctrl-C stops an answer, Ctrl-D and 'quit' leave."""
    ask = _asker()
    kind = _Conversation if converses(tokenizer) else _Continuation
    talk = kind(model, tokenizer)
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
            for piece in talk.answer(prompt, sampling.with_seed(seed)):
                print(printable(piece), end="", flush=True)
        except KeyboardInterrupt:
            print("\n(stopped)", end="")
        except DataError as error:
            print(f"minigpt2: {error}", end="", file=sys.stderr)
        print()
        seed = (seed + 1) % (1 << 63)  # the same prompt again gets another answer


def converses(tokenizer: Tokenizer) -> bool:
    """Say whether the model was trained on conversations laid out as ours are."""
    return tokenizer.chat_template == TRANSCRIPT


class _Continuation:
    """Each prompt stands alone and is continued."""

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer

    def answer(self, prompt: str, sampling: Sampling) -> Iterator[str]:
        """Yield the continuation piece by piece."""
        return generate(self._model, self._tokenizer, prompt, sampling)


class _Conversation:
    """Prompts and answers become a transcript; the oldest turns go when it gets too long."""

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._messages: list[dict[str, str]] = []

    def answer(self, prompt: str, sampling: Sampling) -> Iterator[str]:
        """Yield the answer piece by piece; an answer cut short stays in the transcript as it is."""
        asked = [*self._messages, {"role": "user", "content": prompt}]
        while len(asked) > 1 and not self._fits(asked):
            asked = asked[2:]
        said = ""
        stopping = replace(sampling, stop=(*sampling.stop, NEXT_TURN))
        try:
            pieces = generate(self._model, self._tokenizer, transcript(asked), stopping)
            for piece in pieces:
                shown = piece if said else piece.lstrip()
                said += shown
                yield shown
        finally:
            if said:
                self._messages = [*asked, {"role": "assistant", "content": said}]

    def _fits(self, messages: list[dict[str, str]]) -> bool:
        """Say whether the transcript leaves half of the context for the answer."""
        ids = self._tokenizer.encode(transcript(messages))
        return len(ids) <= self._model.config.block_size // 2


def _asker() -> Callable[[], str]:
    """Return a function that reads one prompt: with line editing in a terminal, plain in a pipe."""
    if not sys.stdin.isatty():
        return input
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()
    return lambda: session.prompt(PROMPT)
