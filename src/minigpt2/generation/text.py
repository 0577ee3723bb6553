"""Text in, text out: generation as people see it, one certain piece at a time."""

from collections.abc import Iterator

from minigpt2.errors import DataError
from minigpt2.generation.engine import decode
from minigpt2.generation.sampling import Sampling
from minigpt2.model import LanguageModel, evaluating
from minigpt2.tokenizers import IncrementalDecoder, Tokenizer


class TextStream:
    """One sample's ids becoming text: whole characters only, nothing after a stop string.

    Text that may be the beginning of a stop string is held back until it is or is not.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self._decoder = IncrementalDecoder(tokenizer)
        self._eos_id, self._stop = tokenizer.eos_id, stop
        self._held = ""
        self.finished = False

    def feed(self, token_id: int) -> str:
        """Return the text that is certain after this id."""
        if self.finished:
            return ""
        if token_id == self._eos_id:
            return self.close()
        return self._release(self._decoder.feed(token_id))

    def close(self) -> str:
        """End the sample; return what was still held back."""
        if self.finished:
            return ""
        text = self._release(self._decoder.finish()) + self._held
        self.finished, self._held = True, ""
        return text

    def _release(self, new: str) -> str:
        text = self._held + new
        starts = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if starts:
            self.finished, self._held = True, ""
            return text[: min(starts)]
        longest = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - longest :]
        return text[: len(text) - longest]


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of `text` begin `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str = "",
    sampling: Sampling | None = None,
) -> Iterator[str]:
    """Yield the continuation of `prompt` piece by piece; the pieces joined are the sample.

    Raises DataError for a prompt the tokenizer cannot encode.
    """
    for pieces in generate_many(model, tokenizer, prompt, 1, sampling):
        if pieces[0]:
            yield pieces[0]


def generate_many(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    n: int,
    sampling: Sampling | None = None,
) -> Iterator[list[str]]:
    """Yield, step by step, the next piece of each of n samples; sample i is that of seed + i."""
    sampling = sampling or Sampling()
    ids = tokenizer.encode(prompt) if prompt else [start_id(tokenizer)]
    streams = [TextStream(tokenizer, sampling.stop) for _ in range(n)]
    with evaluating(model):
        for step in decode(model, ids, sampling, n, tokenizer.vocab_size):
            yield [stream.feed(token) for stream, token in zip(streams, step, strict=True)]
            if all(stream.finished for stream in streams):
                return
        yield [stream.close() for stream in streams]


def start_id(tokenizer: Tokenizer) -> int:
    """Return what an empty prompt starts from: the end-of-text token, else a newline, else id 0."""
    if tokenizer.eos_id is not None:
        return tokenizer.eos_id
    try:
        return tokenizer.encode("\n")[-1]
    except DataError:
        return 0
