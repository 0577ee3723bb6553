"""Text in, text out: generation as people see it, one certain piece at a time."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from minigpt2.errors import DataError, UsageError
from minigpt2.generation.engine import Ended, Engine, Request, Scored, Token
from minigpt2.model import LanguageModel, evaluating
from minigpt2.sampling import Sampling
from minigpt2.tokenizers import IncrementalDecoder, Tokenizer

_SLOTS = 32  # samples written at once, where more are asked for


@dataclass(frozen=True)
class Piece:
    """What a step adds to one sample: perhaps no text yet, and the token it came from.

    Prompts that were submitted together, as `name`, are counted by `prompt`. With `ended` the
    sample is complete: `stop` (a stop string, a stop token or the end of the text) or `length`;
    `cut` tokens of the prompt were left out, and the window slid `slides` times. `scored` are the
    prompt's own tokens, where asked for.
    """

    prompt: int
    sample: int
    text: str = ""
    token: Token | None = None
    ended: str | None = None
    cut: int = 0
    slides: int = 0
    scored: tuple[Token, ...] = ()
    name: Any = None


class TextStream:
    """One sample's ids becoming text: whole characters only, nothing after a stop string.

    Ids that are `silent` have no text. Text that may be the beginning of a stop string is held back
    until it is or is not.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop: tuple[str, ...], silent: tuple[int, ...] = ()
    ) -> None:
        self._decoder, self._stop, self._silent = IncrementalDecoder(tokenizer), stop, silent
        self._held = ""
        self.finished = False

    def feed(self, token_id: int) -> str:
        """Return the text that is certain after this id."""
        if self.finished or token_id in self._silent:
            return ""
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


class Writer:
    """An engine that speaks: prompts of ids in, pieces of text out."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self.engine, self._tokenizer = engine, tokenizer
        # Of every sample being written, as the engine calls it: its name, its prompt, its text.
        self._streams: dict[tuple[int, int], tuple[Any, int, TextStream]] = {}

    def submit(self, name: Any, requests: Iterable[Request]) -> None:
        """Queue requests together, under a name of the caller's.

        Raises UsageError for what cannot be written; nothing is queued then.
        """
        for prompt, request in enumerate(requests):
            stop_ids, sampling = request.stop_ids, request.sampling
            if not sampling.ignore_eos and self._tokenizer.eos_id is not None:
                stop_ids = (*stop_ids, self._tokenizer.eos_id)
            try:
                number = self.engine.submit(replace(request, stop_ids=stop_ids))
            except UsageError:
                self.cancel(name)
                raise
            for sample in range(request.n):
                text = TextStream(self._tokenizer, sampling.stops, stop_ids)
                self._streams[number, sample] = name, prompt, text

    def cancel(self, name: Any) -> None:
        """End all that is being written under this name."""
        for key in [key for key, (own, _, _) in self._streams.items() if own == name]:
            self.engine.cancel(*key)
            del self._streams[key]

    def step(self) -> Iterator[Piece]:
        """Let the engine take a step; yield what it adds."""
        for event in self.engine.step():
            if isinstance(event, Scored):
                for (number, sample), (name, prompt, _) in self._streams.items():
                    if number == event.request:
                        yield Piece(prompt, sample, scored=tuple(event.tokens), name=name)
                continue
            key = (event.request, event.sample)
            if key not in self._streams:  # a stop string has ended it within this very step
                continue
            name, prompt, text = self._streams[key]
            if isinstance(event, Token):
                yield Piece(prompt, event.sample, text.feed(event.id), event, name=name)
                if not text.finished:
                    continue
                ended = self.engine.cancel(*key) or [Ended(*key, "stop", cut=0, slides=0)]
                event = replace(ended[0], reason="stop")
            del self._streams[key]
            yield Piece(
                prompt, event.sample, text.close(), None, event.reason, event.cut, event.slides,
                name=name,
            )  # fmt: skip


def stream(
    engine: Engine, tokenizer: Tokenizer, prompts: Sequence[list[int]], sampling: Sampling,
    n: int = 1,
) -> Generator[Piece, None, None]:  # fmt: skip
    """Yield the continuations of prompts of ids as they come, `n` of each, side by side.

    They are submitted at once, so UsageError comes before the first piece; closing the iterator
    cancels what is not yet written. The engine is this stream's until then: UsageError.
    """
    if engine.busy:
        raise UsageError("the engine is still writing; finish or close the other stream first")
    writer = Writer(engine, tokenizer)
    writer.submit(None, [Request(list(ids), sampling, n) for ids in prompts])

    def pieces() -> Generator[Piece, None, None]:
        try:
            while engine.busy:
                yield from writer.step()
        finally:
            writer.cancel(None)

    return pieces()


def generate(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str = "", sampling: Sampling | None = None
) -> Iterator[str]:
    """Yield the continuation of `prompt` piece by piece; the pieces joined are the sample.

    An empty prompt starts from the end-of-text token, or a newline where there is none. Raises
    DataError for a prompt the tokenizer cannot encode, UsageError for one that does not fit.

    >>> from minigpt2 import ByteTokenizer, GPT2, GPT2Config, Sampling
    >>> model = GPT2(GPT2Config(vocab_size=256, block_size=16, n_layer=1, n_head=1, n_embd=8))
    >>> pieces = list(generate(model, ByteTokenizer(), "ab", Sampling(max_new_tokens=5)))
    >>> len("".join(pieces)) <= 5
    True
    """
    for piece in _written(model, tokenizer, [prompt], sampling or Sampling(), 1):
        if piece.text:
            yield piece.text


def generate_batch(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    sampling: Sampling | None = None,
    n: int = 1,
) -> list[list[str]]:
    """Return `n` continuations of every prompt, all written side by side.

    Sample i of a prompt takes seed + i, and is what it would be alone. Raises as `generate` does.

    >>> from minigpt2 import ByteTokenizer, GPT2, GPT2Config, Sampling
    >>> model = GPT2(GPT2Config(vocab_size=256, block_size=16, n_layer=1, n_head=1, n_embd=8))
    >>> texts = generate_batch(model, ByteTokenizer(), ["a", "b", "c"], Sampling(5), n=2)
    >>> [len(samples) for samples in texts]
    [2, 2, 2]
    """
    texts = [[""] * n for _ in prompts]
    for piece in _written(model, tokenizer, prompts, sampling or Sampling(), n):
        texts[piece.prompt][piece.sample] += piece.text
    return texts


def _written(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], sampling: Sampling, n: int
) -> Iterator[Piece]:
    ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    with evaluating(model):
        engine = engine_for(model, tokenizer, ids, sampling, n)
        yield from stream(engine, tokenizer, ids, sampling, n)


def engine_for(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[list[int]], sampling: Sampling,
    n: int = 1,
) -> Engine:  # fmt: skip
    """Return an engine of the size that these prompts need, and no larger."""
    longest = max(map(len, prompts), default=1) + sampling.max_new_tokens
    fits = longest <= model.config.block_size
    slots = max(1, min(_SLOTS, n * len(prompts)))
    return Engine(model, slots, tokenizer.vocab_size, longest if fits else None)


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Return a prompt's ids; those of an empty one are what a text starts from."""
    return tokenizer.encode(prompt) or [start_id(tokenizer)]


def start_id(tokenizer: Tokenizer) -> int:
    """Return what an empty prompt starts from: the end-of-text token, else a newline, else id 0."""
    if tokenizer.eos_id is not None:
        return tokenizer.eos_id
    try:
        return tokenizer.encode("\n")[-1]
    except DataError:
        return 0
