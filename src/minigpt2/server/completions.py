"""`/v1/completions` and `/v1/chat/completions`: from a request to a job, and to an answer."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from minigpt2.generation import Piece, Request, Sampling, prompt_ids
from minigpt2.server.errors import RefusedError, json_response
from minigpt2.server.replies import Chat, Completion, Sample, choice, likelihood, new_reply, usage
from minigpt2.server.schema import ChatRequest, CompletionRequest, Wanted
from minigpt2.server.worker import Job, Worker
from minigpt2.tokenizers import NEXT_TURN, Tokenizer, converses, transcript

_QUICK = 10_000  # characters, ids or values that are worked through at once
_MOST_VALUES = 1_000_000  # of an answer: some tens of megabytes


async def complete(wanted: CompletionRequest, worker: Worker, defaults: Sampling) -> Response:
    """Continue texts."""
    if wanted.suffix:
        raise RefusedError(400, "suffix: GPT-2 cannot write what comes before it", param="suffix")
    n = wanted.n or 1
    best_of = wanted.best_of or n
    if best_of < n or (wanted.stream and best_of > n):
        raise RefusedError(400, "best_of: at least n, and without stream", param="best_of")
    prompts, echoes = await _prompts(wanted, worker, best_of)
    sampling = wanted.sampling(defaults, wanted.logprobs)
    if best_of > n and sampling.logprobs is None:
        sampling = replace(sampling, logprobs=0)  # by which they are compared
    told = wanted.logprobs is not None
    score = bool(wanted.echo) and told
    stop_ids = tuple(wanted.stop_token_ids or ())
    requests = [Request(ids, sampling, best_of, stop_ids, score) for ids in prompts]
    samples = [
        Completion(worker.tokenizer, told, echo, ids[0] if score else None)
        for ids, echo in zip(prompts, echoes, strict=True)
        for _ in range(n)
    ]
    echoed = sum(map(len, prompts)) if wanted.echo else 0
    return await _answer(wanted, worker, requests, samples, echoed)


async def converse(wanted: ChatRequest, worker: Worker, defaults: Sampling) -> Response:
    """Answer in a conversation; only by a model that was trained on some."""
    if not converses(worker.tokenizer):
        message = f"{worker.name} was not trained on conversations; use /v1/completions"
        raise RefusedError(400, message, "no_chat_template", "model")
    if wanted.logprobs:
        message = "logprobs: of conversations they are not told; /v1/completions tells them"
        raise RefusedError(400, message, param="logprobs")
    said = transcript([message.said() for message in wanted.messages])
    [ids] = await _encode([said], worker.tokenizer)
    if wanted.max_completion_tokens is not None:
        wanted.max_tokens = wanted.max_completion_tokens
    sampling = wanted.sampling(defaults)
    sampling = replace(sampling, stop=(*sampling.stop, NEXT_TURN))
    request = Request(ids, sampling, wanted.n or 1, tuple(wanted.stop_token_ids or ()))
    return await _answer(wanted, worker, [request], [Chat() for _ in range(request.n)])


async def _prompts(
    wanted: CompletionRequest, worker: Worker, samples: int
) -> tuple[list[list[int]], list[str]]:
    """Return the prompts' ids, and their texts if these are to be told.

    Raises RefusedError for a list that mixes kinds, and where so many samples of each cannot be
    taken.
    """
    tokenizer, prompt = worker.tokenizer, wanted.prompt
    texts: list[Any] = prompt if isinstance(prompt, list) else [prompt or ""]
    kinds = set(map(type, texts))
    many = [texts] if kinds == {int} else texts
    worker.check_room(samples * len(many))
    if kinds == {str}:
        return await _encode(texts, tokenizer), texts if wanted.echo else [""] * len(texts)
    if kinds not in ({int}, {list}) or not all(many):
        raise RefusedError(
            400, "prompt: a text, token ids, or a list of texts or of token ids", param="prompt"
        )
    most = tokenizer.vocab_size - 1
    if wrong := [i for ids in many for i in (min(ids), max(ids)) if not 0 <= i <= most]:
        what = f"there is no token {wrong[0]}; the model's are 0 to {most}"
        raise RefusedError(400, f"prompt: {what}", param="prompt")
    return many, [tokenizer.decode(ids) if wanted.echo else "" for ids in many]


async def aside(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function: at once where there is little to do, else in a thread beside the loop."""
    if size <= _QUICK:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


async def _encode(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    def encode() -> list[list[int]]:
        return [prompt_ids(tokenizer, text) for text in texts]

    return await aside(sum(map(len, texts)), encode)


async def _answer(
    wanted: Wanted, worker: Worker, requests: list[Request], samples: Sequence[Sample],
    echoed: int = 0,
) -> Response:  # fmt: skip
    """Answer with as many samples of each prompt as `samples` are there to tell.

    `echoed` tokens of the prompts are told with each.
    """
    sampling, streamed = requests[0].sampling, bool(wanted.stream)
    values = requests[0].n * (echoed + len(requests) * sampling.max_new_tokens)
    values *= 1 if sampling.logprobs is None else sampling.logprobs + 2
    if values > _MOST_VALUES:
        message = f"{values} tokens and log-probabilities in one answer; at most {_MOST_VALUES}"
        raise RefusedError(400, message)
    job = worker.submit(requests, streamed)
    reply = new_reply(samples[0], worker.name, streamed)
    if streamed:
        if wanted.stream_options and wanted.stream_options.include_usage:
            reply["usage"] = None
        events = _events(worker, job, samples, reply)
        await anext(events)  # an error before there is anything to tell is an answer of its own
        return EventStream(events)
    try:
        pieces = [piece async for batch in job.batches() for piece in batch]
    finally:
        worker.cancel(job)
    reply["usage"] = usage(requests, _written(pieces))

    def told() -> Response:
        reply["choices"] = _choices(requests, samples, pieces)
        return json_response(reply)

    return await aside(values, told)


def _choices(
    requests: list[Request], samples: Sequence[Sample], pieces: list[Piece]
) -> list[dict[str, Any]]:
    """Return the best samples of every prompt."""
    by_sample, n = _by_sample(pieces), len(samples) // len(requests)
    best: list[list[Piece]] = []
    for prompt, request in enumerate(requests):
        every = [by_sample[prompt, number] for number in range(request.n)]
        if request.n > n:
            every.sort(key=likelihood, reverse=True)
        best += every[:n]
    return [choice(i, *told) for i, told in enumerate(zip(samples, best, strict=True))]


def _by_sample(pieces: Sequence[Piece]) -> dict[tuple[int, int], list[Piece]]:
    """Return pieces by prompt and sample, each in the order they came."""
    found: dict[tuple[int, int], list[Piece]] = {}
    for piece in pieces:
        found.setdefault((piece.prompt, piece.sample), []).append(piece)
    return found


class EventStream(StreamingResponse):
    """An answer that comes as server-sent events; however it ends, these are closed."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events (ASGI)."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


async def _events(
    worker: Worker, job: Job, samples: Sequence[Sample], reply: dict[str, Any]
) -> AsyncGenerator[bytes]:
    """Yield nothing, once there is something to tell; then a chunk for what each step adds.

    However it ends, by the last token, an error or a reader who leaves, nothing is written on.
    """
    written, batches = 0, job.batches()
    try:
        batch = await anext(batches)
        yield b""
        try:
            while batch is not None:
                written += _written(batch)
                yield b"".join(_chunks(batch, samples, len(job.requests), reply))
                await asyncio.sleep(worker.pace())
                batch = await anext(batches, None)
        except RefusedError as error:
            yield _event(error.body())
            return
        if "usage" in reply:
            yield _event({**reply, "usage": usage(job.requests, written)})
        yield b"data: [DONE]\n\n"
    finally:
        worker.cancel(job)


def _written(pieces: list[Piece]) -> int:
    return sum(piece.token is not None for piece in pieces)


def _chunks(
    batch: list[Piece], samples: Sequence[Sample], prompts: int, reply: dict[str, Any]
) -> Iterator[bytes]:
    for (prompt, number), pieces in _by_sample(batch).items():
        index = prompt * (len(samples) // prompts) + number
        if samples[index].logprobs or any(piece.text or piece.ended for piece in pieces):
            told = choice(index, samples[index], pieces, streamed=True)
            yield _event({**reply, "choices": [told]})


def _event(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
