"""Work spread over all cores, its results in order, and never more of it in memory than asked."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def process_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield that many processes; what is under way is finished, what only waits is dropped.

    They are deaf to Ctrl-C, which is the parent's to answer, and end before it is answered: a pool
    whose processes are ended by force can wait for them for ever.
    """
    context = multiprocessing.get_context("spawn")  # the one way that every system has
    pool = ProcessPoolExecutor(processes, context)
    try:
        with _interrupts_ignored():
            started = [pool.submit(int) for _ in range(processes)]
        for one in started:
            one.result()
        yield pool
    finally:
        with _interrupts_ignored():
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Be deaf to SIGINT, and so are children started here; only the main thread may decide that."""
    may_decide = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if may_decide else None
    try:
        yield
    finally:
        if may_decide:
            signal.signal(signal.SIGINT, handler)


def map_in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Iterator[Result]:
    """Yield function(item) for each item, in order, with at most `most` of them under way."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
