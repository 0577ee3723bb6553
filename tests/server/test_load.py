"""Clients that leave, dawdle or come in crowds cost nobody else anything, and nothing is left."""

import asyncio
import json
import random
import threading
import time

import pytest

from minigpt2.generation import Sampling, generate_batch
from minigpt2.server import guard


async def ask(port, body, leave_after=None, path="/v1/completions"):
    """Return status, headers and body; a client that leaves returns 0 and nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        message = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        if leave_after is not None and leave_after < 0:  # within its own request
            writer.write(message[:leave_after])
            await writer.drain()
            return 0, b"", b""
        writer.write(message)
        if leave_after is not None:
            await reader.readexactly(leave_after)
            return 0, b"", b""
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head, await reader.read()
    except asyncio.IncompleteReadError:
        return 0, b"", b""
    finally:
        writer.close()


def text_of(body):
    return json.loads(body)["choices"][0]["text"]


def tasks_of(running):
    """Return how many tasks the server's loop runs."""
    found, done = [], threading.Event()

    def count():
        found.append(len(asyncio.all_tasks(loop)))
        done.set()

    loop = next(iter(running.workers.values()))._loop
    loop.call_soon_threadsafe(count)
    assert done.wait(5)
    return found[0]


def leave_many(running, number, seed):
    chance = random.Random(seed)

    async def leave(place):
        body = {"model": chance.choice(["fox", "words", "talk"]), "prompt": "a",
                "max_tokens": chance.choice([1, 20, 36]), "n": chance.choice([1, 3]),
                "stream": chance.random() < 0.7, "logprobs": chance.choice([None, 2])}  # fmt: skip
        after = chance.choice([0, chance.randrange(-150, 0), chance.randrange(1, 6000)])
        await asyncio.sleep(chance.random() * 0.02)
        await ask(running.port, body, after)

    async def crowd():
        for first in range(0, number, 40):
            await asyncio.gather(*(leave(place) for place in range(first, first + 40)))

    asyncio.run(crowd())


def disconnect_and_look(running, number, seed):
    before = tasks_of(running)
    leave_many(running, number, seed)
    assert running.idle(5)
    until = time.monotonic() + 5
    while tasks_of(running) > before and time.monotonic() < until:
        time.sleep(0.02)
    assert tasks_of(running) <= before
    assert running.server.server_state.connections == set()
    for worker in running.workers.values():
        assert worker.taken == 0 and not worker._jobs


def test_who_leaves_frees_the_slot_and_leaves_no_task(served):
    disconnect_and_look(served, 120, seed=1)


@pytest.mark.slow
def test_a_thousand_leave_at_a_random_byte(served):
    disconnect_and_look(served, 1000, seed=2)


@pytest.mark.parametrize("stream", [False, True])
def test_stop_stops_the_computation_within_a_tenth_of_a_second(serving, models, stream):
    with serving({"talk": models["talk"]}, overflow="slide") as running:
        worker = running.workers["talk"]

        async def start_and_stop():
            body = {"prompt": "a", "max_tokens": 100_000, "stream": stream, "n": 4}
            body["ignore_eos"] = True
            asking = asyncio.ensure_future(ask(running.port, body))
            while worker.taken < 4:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            asking.cancel()
            start = time.monotonic()
            while worker.taken:
                await asyncio.sleep(0.001)
            return time.monotonic() - start

        assert asyncio.run(start_and_stop()) < 0.1


def test_a_full_queue_refuses_and_says_when_to_come_again(serving, models):
    models, more = {"talk": models["talk"]}, {"overflow": "slide"}
    with serving(models, slots=2, queue=3, **more) as running:

        async def crowd():
            bodies = [{"prompt": "a", "max_tokens": 60, "seed": i} for i in range(40)]
            return await asyncio.gather(*(ask(running.port, body) for body in bodies))

        told = asyncio.run(crowd())
        taken = [answer for answer in told if answer[0] == 200]
        refused = [answer for answer in told if answer[0] == 429]
        assert len(taken) + len(refused) == 40 and len(taken) >= 5 and refused
        for _, head, body in refused:
            assert b"retry-after: 1" in head.lower()
            assert json.loads(body)["error"]["code"] == "queue_full"
        assert running.idle()
        assert asyncio.run(ask(running.port, {"prompt": "a"}))[0] == 200


def test_a_crowd_each_gets_its_own_text(serving, models):
    model, tokenizer = models["words"]
    prompts = ["the quick brown fox jumps over the lazy dog"[: 1 + i % 40] for i in range(150)]
    with serving({"words": (model, tokenizer)}, slots=16, queue=1000) as running:

        async def crowd():
            bodies = [{"prompt": p, "max_tokens": 8, "temperature": 0} for p in prompts]
            return await asyncio.gather(*(ask(running.port, body) for body in bodies))

        told = asyncio.run(crowd())
    greedy = Sampling(8, temperature=0, overflow="error")
    wanted = [samples[0] for samples in generate_batch(model, tokenizer, prompts, greedy)]
    assert [text_of(body) for _, _, body in told] == wanted


def test_who_reads_nothing_or_asks_by_halves_slows_nobody(serving, models, monkeypatch):
    monkeypatch.setattr(guard, "READER_SECONDS", 1.0)
    with serving({"talk": models["talk"]}, overflow="slide") as running:

        async def beside():
            deaf, halves = [], []
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=64)
                reader._transport.pause_reading()
                body = json.dumps(
                    {"prompt": "a", "max_tokens": 5000, "stream": True, "logprobs": 20}
                )
                head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                deaf.append(writer)
                _, half = await asyncio.open_connection("127.0.0.1", running.port)
                half.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Le")
                halves.append(half)
            await asyncio.sleep(0.2)
            start = time.monotonic()
            for seed in range(10):
                body = {"prompt": "a", "max_tokens": 4, "seed": seed}
                assert (await ask(running.port, body))[0] == 200
            seconds = time.monotonic() - start
            for writer in deaf + halves:
                writer.close()
            return seconds

        assert asyncio.run(beside()) < 3
        assert running.idle(20)


def test_a_long_request_does_not_hold_up_others(serving, models):
    """Encoding, telling and refusing what is large happens beside the loop, or not at all."""
    large = [
        {"prompt": [""] * 500_000},
        {"prompt": "a" * 3_000_000},
        {"prompt": [1] * 1_000_000, "max_tokens": 1, "repetition_penalty": 1.1},
        {"prompt": [5] * 36, "max_tokens": 0, "echo": True, "logprobs": 20, "n": 64},
    ]
    with serving({"fox": models["fox"]}, overflow="slide") as running:

        async def beside(body):
            asking = asyncio.ensure_future(ask(running.port, body))
            longest = 0.0
            while not asking.done():
                start = time.monotonic()
                await ask(running.port, None, path="/health")
                longest = max(longest, time.monotonic() - start)
            return longest

        for body in large:
            assert asyncio.run(beside(body)) < 1, str(body)[:60]
        assert running.idle(20)
