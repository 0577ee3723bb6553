"""A model that writes in a thread of its own, asked from the event loop.

The thread alone touches the engine. Orders go to it through a queue, looked at between any two
steps; what a step adds comes back in one call to the loop. The loop counts the samples it has
taken and not yet seen ended: no more than there are slots and places in the queue.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from minigpt2.errors import MiniGPT2Error
from minigpt2.generation import Engine, Piece, Request, Writer
from minigpt2.model import LanguageModel
from minigpt2.server.errors import RefusedError, no_room, refusal
from minigpt2.tokenizers import Tokenizer

_LOG = logging.getLogger("minigpt2.server")
_STEP_SECONDS = 10.0  # a thread left within torch would abort the process at its end
_LONGEST_LAG = 1.0  # seconds that the engine waits for the loop
_MOST_ASKED = 16  # questions at a time: each may take a second from those that are written

# Of all streams together: a chunk costs the loop 0.1 ms, which the engine's thread goes without.
_CHUNKS_PER_SECOND, _LONGEST_PACE = 1000, 0.1

Opened = tuple[LanguageModel, Tokenizer]
Answer = TypeVar("Answer")


@dataclass(eq=False)
class Job:
    """Prompts as the loop sees them: what is wanted of each, and the pieces that have come."""

    requests: list[Request]
    every: bool  # wake who waits for every step, or only at the end
    open: int  # samples not yet ended
    pieces: list[Piece] = field(default_factory=list)
    error: Exception | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def batches(self) -> AsyncIterator[list[Piece]]:
        """Yield what has come, all of it at once, until every sample has ended.

        Raises RefusedError where the engine could not.
        """
        while self.open or self.pieces or self.error is not None:
            await self.news.wait()
            self.news.clear()
            if self.error is not None:
                raise refusal(self.error)
            batch, self.pieces = self.pieces, []
            yield batch


class Worker:
    """One model: opened, kept and run by its thread.

    `slots` samples are written at once, `queue` more may wait.
    """

    def __init__(
        self, name: str, open_model: Callable[[], Opened], slots: int = 32, queue: int = 256
    ) -> None:
        self.name, self.slots, self.queue, self.created = name, slots, queue, int(time.time())
        self._open_model = open_model
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)
        self.model: LanguageModel | None = None  # until it is open
        self.error: Exception | None = None
        self.taken = 0  # samples
        self._asked = 0  # questions
        self._jobs: set[Job] = set()
        self._heard = threading.Event()  # of the last step, on the loop
        self._heard.set()
        self._orders: SimpleQueue[Callable[[Writer], None] | None] = SimpleQueue()

    def start(self) -> None:
        """Start the thread, from the loop; `error` says why the model cannot be opened."""
        self._loop, self._tried = asyncio.get_running_loop(), asyncio.Event()
        self._thread.start()

    async def opened(self) -> None:
        """Wait until the model is open; raise RefusedError where it could not be."""
        await self._tried.wait()
        if self.error is not None:
            raise refusal(self.error)

    @property
    def idle(self) -> bool:
        """Say whether nothing is written or asked."""
        return not self.taken and not self._asked

    def stop(self, wait: bool = True) -> None:
        """Let the thread end after its step, and wait for that."""
        self._orders.put(None)
        if wait and self._thread.is_alive():
            self._thread.join(_STEP_SECONDS)

    def pace(self) -> float:
        """Return how many seconds a stream is to wait between two chunks."""
        return min(_LONGEST_PACE, len(self._jobs) / _CHUNKS_PER_SECOND)

    @property
    def ready(self) -> bool:
        """Say whether the model is open."""
        return self.model is not None

    @property
    def full(self) -> bool:
        """Say whether not even one more sample can be taken."""
        return self.taken >= self.slots + self.queue

    def load(self) -> dict[str, int]:
        """Return how many samples are written now, and how many wait."""
        writing = min(self.taken, self.slots)
        return {"writing": writing, "waiting": self.taken - writing}

    def check_room(self, rows: int) -> None:
        """Raise RefusedError where so many samples can not be taken, now or ever."""
        room = self.slots + self.queue
        if rows > room:
            raise RefusedError(
                400, f"{rows} samples in one request; this server takes at most {room}", param="n"
            )
        if self.taken + rows > room:
            raise no_room()

    def submit(self, requests: list[Request], every: bool) -> Job:
        """Queue prompts; raise RefusedError where there is no room."""
        rows = sum(request.n for request in requests)
        self.check_room(rows)
        job = Job(requests, every, rows)
        self.taken += rows
        self._jobs.add(job)
        self._orders.put(lambda writer: self._begin(writer, job))
        return job

    async def ask(self, question: Callable[[LanguageModel], Answer]) -> Answer:
        """Return what a function of the model says, called in the thread between two steps.

        Raises RefusedError where too many ask, and whatever the function raises. Who is cancelled
        is not answered, and where nothing was begun yet nothing is.
        """
        if self._asked >= _MOST_ASKED:
            raise no_room()
        answer: Future[Answer] = Future()

        def order(writer: Writer) -> None:
            assert self.model is not None
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(question(self.model))
                except Exception as error:
                    answer.set_exception(error)

        self._asked += 1
        self._orders.put(order)
        try:
            return await asyncio.wrap_future(answer)
        finally:
            self._asked -= 1

    def cancel(self, job: Job) -> None:
        """End what is still being written; its slots are free after the step that runs now."""
        if job.open:
            self._orders.put(lambda writer: self._cancel(writer, job))

    # What follows up to `_tell` runs in the thread.

    def _run(self) -> None:
        try:
            model, tokenizer = self._open_model()
            writer = Writer(Engine(model, self.slots, tokenizer.vocab_size), tokenizer)
        except Exception as error:
            self.error = error
            self._tell(self._tried.set)
            return
        self.tokenizer, self.model = tokenizer, model
        self._tell(self._tried.set)
        while True:
            try:
                self._write(writer)
                return
            except Exception as error:  # of a step: all that was being written is lost with it
                _LOG.exception("the engine failed and begins anew")
                self._tell(self._lost, error)
            writer = Writer(Engine(model, self.slots, tokenizer.vocab_size), tokenizer)

    def _write(self, writer: Writer) -> None:
        """Obey orders and take steps until told to stop."""
        pieces: list[Piece] = []
        while True:
            while not (writer.engine.busy and self._orders.empty()):
                order = self._orders.get()
                if order is None:
                    return
                order(writer)
            new = list(writer.step())
            pieces += new
            if not any(piece.ended or piece.name.every for piece in new):
                continue  # nobody waits for a part: waking the loop costs the engine its core
            # A loop that is a step behind has a crowd to answer: it goes first.
            self._heard.wait(_LONGEST_LAG)
            self._heard.clear()
            self._tell(self._deliver, pieces)
            pieces = []

    def _begin(self, writer: Writer, job: Job) -> None:
        if not job.open:  # lost with an engine that failed before this order
            return
        try:
            writer.submit(job, job.requests)
        except MiniGPT2Error as error:
            self._tell(self._close, job, error)

    def _cancel(self, writer: Writer, job: Job) -> None:
        writer.cancel(job)
        self._tell(self._close, job)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have the loop call a function; nobody is told where it has ended already."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    # What follows runs on the loop.

    def _deliver(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            job = piece.name
            if job not in self._jobs:  # ended by an error within this step
                continue
            job.pieces.append(piece)
            job.open -= bool(piece.ended)
            self.taken -= bool(piece.ended)
            if not job.open:
                self._jobs.remove(job)
            if job.every or not job.open:
                job.news.set()
        self._heard.set()

    def _close(self, job: Job, error: Exception | None = None) -> None:
        """Take a job off the books: nothing more of it is written."""
        self.taken -= job.open
        job.open, job.error = 0, error
        self._jobs.discard(job)
        job.news.set()

    def _lost(self, error: Exception) -> None:
        for job in list(self._jobs):
            self._close(job, error)
