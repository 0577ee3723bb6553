"""`/v1/completions` and `/v1/chat/completions`: from a request to a job, and to an answer."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from minigpt2.generation import Piece, prompt_ids
from minigpt2.sampling import Overflow, Sampling
from minigpt2.server.errors import RefusedError, json_response
from minigpt2.server.replies import Chat, Completion, Form, Sample, likelihood, new_reply, usage
from minigpt2.server.schema import ChatRequest, CompletionRequest, Reply, Wanted
from minigpt2.server.worker import Job, Worker
from minigpt2.tokenizers import NEXT_TURN, Tokenizer, converses, transcript

_QUICK = 10_000  # characters, ids or values that are worked through at once
_MOST_VALUES = 1_000_000  # of an answer: some tens of megabytes


@dataclass(frozen=True)
class Defaults:
    """What a request that says nothing gets."""

    max_tokens: int = 16
    overflow: Overflow = "error"


@dataclass(frozen=True)
class Order:
    """A request, understood: `best_of` samples of each prompt are written, the best `n` told."""

    form: Form
    prompts: list[list[int]]
    echoes: list[str]  # what is told before a sample of each prompt
    sampling: Sampling
    n: int
    best_of: int
    score: bool

    def values(self) -> int:
        """Return how many tokens and log-probabilities may have to be told."""
        echoed = sum(map(len, self.prompts)) if any(self.echoes) else 0
        tokens = self.best_of * (echoed + len(self.prompts) * self.sampling.max_new_tokens)
        return tokens * (1 if self.sampling.logprobs is None else self.sampling.logprobs + 2)

    def sample(self, tokenizer: Tokenizer, place: int, number: int) -> Sample:
        """Return sample `number` of a prompt, of which nothing has been told."""
        first = self.prompts[place][0] if self.score else None
        return Sample(place * self.n + number, tokenizer, self.echoes[place], first)


async def complete(wanted: CompletionRequest, worker: Worker, defaults: Defaults) -> Response:
    """Continue texts."""
    if wanted.suffix:
        raise RefusedError(400, "suffix: GPT-2 cannot write what comes before it", param="suffix")
    n = wanted.n or 1
    best_of = wanted.best_of or n
    if best_of < n or (wanted.stream and best_of > n):
        raise RefusedError(400, "best_of: at least n, and without stream", param="best_of")
    many = isinstance(wanted.prompt, list) and wanted.prompt and type(wanted.prompt[0]) is not int
    worker.check_room(best_of * (len(wanted.prompt or "") if many else 1))
    prompts, texts = await _prompts(wanted.prompt, worker.tokenizer, bool(wanted.echo))
    sampling = wanted.sampling(defaults.max_tokens, defaults.overflow, wanted.logprobs)
    if best_of > n and sampling.logprobs is None:
        sampling = replace(sampling, logprobs=0)  # by which they are compared
    told = wanted.logprobs is not None
    score = bool(wanted.echo) and told
    order = Order(Completion(told), prompts, texts, sampling, n, best_of, score)
    return await _answer(order, wanted, worker)


async def converse(wanted: ChatRequest, worker: Worker, defaults: Defaults) -> Response:
    """Answer in a conversation; only by a model that was trained on some."""
    if not converses(worker.tokenizer):
        message = f"{worker.name} was not trained on conversations; use /v1/completions"
        raise RefusedError(400, message, "no_chat_template", "model")
    if wanted.logprobs:
        message = "logprobs: of conversations they are not told; /v1/completions tells them"
        raise RefusedError(400, message, param="logprobs")
    said = [{"role": item.speaker(), "content": item.text()} for item in wanted.messages]
    prompts = await _encode([transcript(said)], worker.tokenizer)
    if wanted.max_completion_tokens is not None:
        wanted.max_tokens = wanted.max_completion_tokens
    sampling = wanted.sampling(defaults.max_tokens, defaults.overflow, None)
    sampling = replace(sampling, stop=(*sampling.stop, NEXT_TURN))
    n = wanted.n or 1
    return await _answer(Order(Chat(), prompts, [""], sampling, n, n, False), wanted, worker)


async def _prompts(
    prompt: Any, tokenizer: Tokenizer, echo: bool
) -> tuple[list[list[int]], list[str]]:
    """Return the prompts' ids, and their texts if these are to be told.

    Raises RefusedError for a list that mixes kinds.
    """
    texts: list[Any] = prompt if isinstance(prompt, list) else [prompt or ""]
    kinds = set(map(type, texts))
    if kinds == {str}:
        return await _encode(texts, tokenizer), texts if echo else [""] * len(texts)
    many = [texts] if kinds == {int} else texts
    if kinds not in ({int}, {list}) or not all(many):
        raise RefusedError(
            400, "prompt: a text, token ids, or a list of texts or of token ids", param="prompt"
        )
    extremes, most = [*map(min, many), *map(max, many)], tokenizer.vocab_size - 1
    if wrong := [token_id for token_id in extremes if not 0 <= token_id <= most]:
        what = f"there is no token {wrong[0]}; the model's are 0 to {most}"
        raise RefusedError(400, f"prompt: {what}", param="prompt")
    return many, [tokenizer.decode(ids) if echo else "" for ids in many]


async def aside(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function: at once where there is little to do, else in a thread beside the loop."""
    if size <= _QUICK:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


async def _encode(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    def encode() -> list[list[int]]:
        return [prompt_ids(tokenizer, text) for text in texts]

    return await aside(sum(map(len, texts)), encode)


async def _answer(order: Order, wanted: Wanted, worker: Worker) -> Response:
    values = order.values()
    if values > _MOST_VALUES:
        message = f"{values} tokens and log-probabilities in one answer; at most {_MOST_VALUES}"
        raise RefusedError(400, message)
    job = worker.submit(
        order.prompts, order.sampling, order.best_of, bool(wanted.stream),
        score=order.score, stop_ids=tuple(wanted.stop_token_ids or ()),
    )  # fmt: skip
    reply = new_reply(order.form, worker.name, bool(wanted.stream))
    options = wanted.stream_options
    if wanted.stream:
        stream = EventStream(order, worker, job, reply, bool(options and options.include_usage))
        await stream.begin()
        return stream
    try:
        pieces = [piece async for batch in job.batches() for piece in batch]
    finally:
        worker.cancel(job)
    reply.usage = usage(order.prompts, sum(piece.token is not None for piece in pieces))

    def told() -> Response:
        reply.choices = _choices(order, worker.tokenizer, list(job.prompts), pieces)
        return json_response(reply)

    return await aside(values, told)


def _choices(
    order: Order, tokenizer: Tokenizer, names: list[int], pieces: list[Piece]
) -> list[Any]:
    """Return the best `n` samples of every prompt."""
    by_sample = _by_sample(pieces)
    choices = []
    for place, name in enumerate(names):
        samples = [by_sample[name, number] for number in range(order.best_of)]
        if order.best_of > order.n:
            samples.sort(key=likelihood, reverse=True)
        for number, own in enumerate(samples[: order.n]):
            sample = order.sample(tokenizer, place, number)
            choices.append(order.form.choice(sample, own, streamed=False))
    return choices


def _by_sample(pieces: Sequence[Piece]) -> dict[tuple[int, int], list[Piece]]:
    """Return pieces by prompt and sample, each in the order they came."""
    found: dict[tuple[int, int], list[Piece]] = {}
    for piece in pieces:
        found.setdefault((piece.prompt, piece.sample), []).append(piece)
    return found


class EventStream(Response):
    """An answer that comes as server-sent events, a chunk for what each step adds to a sample.

    However it ends, by the last token, an error or a reader who leaves, nothing is written on.
    """

    def __init__(self, order: Order, worker: Worker, job: Job, reply: Reply, counts: bool) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._order, self._worker, self._job, self._reply = order, worker, job, reply
        self._batches, self._counts, self._written = job.batches(), counts, 0
        if counts:
            reply.usage = None
        self._samples = {
            (name, number): order.sample(worker.tokenizer, place, number)
            for place, name in enumerate(job.prompts)
            for number in range(order.n)
        }

    async def begin(self) -> None:
        """Wait for the first pieces: an error before them is an answer of its own."""
        try:
            self._first = await anext(self._batches)
        except BaseException:
            self._worker.cancel(self._job)
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events (ASGI)."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            await send(_body(self._chunks(self._first)))
            try:
                async for batch in self._batches:
                    await asyncio.sleep(self._worker.pace())
                    await send(_body(self._chunks(batch)))
                rest = self._last()
            except RefusedError as error:
                rest = [_event(error.body())]
            await send({**_body(rest), "more_body": False})
        finally:
            self._worker.cancel(self._job)

    def _chunks(self, batch: list[Piece]) -> Iterator[bytes]:
        for key, pieces in _by_sample(batch).items():
            self._written += sum(piece.token is not None for piece in pieces)
            form = self._order.form
            if form.logprobs or any(piece.text or piece.ended for piece in pieces):
                self._reply.choices = [form.choice(self._samples[key], pieces, streamed=True)]
                yield _event(self._reply)

    def _last(self) -> Iterator[bytes]:
        if self._counts:
            self._reply.choices = []
            self._reply.usage = usage(self._order.prompts, self._written)
            yield _event(self._reply)
        yield b"data: [DONE]\n\n"


def _event(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _body(events: Iterator[bytes] | list[bytes]) -> dict[str, Any]:
    return {"type": "http.response.body", "body": b"".join(events), "more_body": True}
