"""From settings to a running server: a socket, uvicorn, and an end that loses nobody's answer."""

import contextlib
import socket
import sys
from collections.abc import Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, h11

from minigpt2.errors import UnavailableError
from minigpt2.sampling import Sampling
from minigpt2.server.app import make_app
from minigpt2.server.guard import MOST_HEAD_BYTES, Guard
from minigpt2.server.runs import Runs
from minigpt2.server.worker import Worker

HEAD_SECONDS = 10.0  # in which the head of a request must come
DRAIN_SECONDS = 30  # for what is being answered, when we are to end
_BACKLOG = 4096  # connections that the system keeps until we take them


class Connection(H11Protocol):
    """uvicorn's, that also closes a connection on which the head of a request does not arrive."""

    _timer: Any = None

    def connection_made(self, transport: Any) -> None:
        """Start to wait."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Go on waiting, unless the head is there."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Begin to wait for a next request that has come in part."""
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._watch()

    def _watch(self) -> None:
        waits = self.conn.their_state is h11.IDLE
        if waits and self._timer is None:  # a byte now and then does not make it longer
            self._timer = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif not waits and self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """uvicorn's, around our application; `guarded` are settings of the Guard."""

    def __init__(
        self, workers: Mapping[str, Worker], defaults: Sampling, runs: Runs, **guarded: Any
    ) -> None:
        self._workers, self._runs = workers, runs

        def is_full() -> bool:
            return all(worker.full for worker in workers.values())

        app = Guard(make_app(workers, defaults, runs), is_full, **guarded)
        config = uvicorn.Config(
            app, http=Connection, ws="none", log_level="error", access_log=False,
            lifespan="off", server_header=False, proxy_headers=False, backlog=_BACKLOG,
            timeout_graceful_shutdown=DRAIN_SECONDS, h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        )  # fmt: skip
        super().__init__(config)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Say that a signal was heard."""
        print(f"ending when what is written is done, within {DRAIN_SECONDS} s", file=sys.stderr)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to open the models, and to listen."""
        for worker in self._workers.values():
            worker.start()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Say whether to end: when told to, or where a model cannot be opened."""
        failed = any(worker.error for worker in self._workers.values())
        return await super().on_tick(counter) or failed

    def serve_until_stopped(self, listening: socket.socket) -> None:
        """Serve; SIGINT and SIGTERM stop it. Raises what kept a model from being opened."""
        _allow_many_connections()
        try:
            self.run(sockets=[listening])
        finally:
            for worker in self._workers.values():
                worker.stop()
            self._runs.stop()
        for worker in self._workers.values():
            if worker.error is not None:
                raise worker.error


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at this address; raise UnavailableError if it cannot be had.

    From now on clients may connect; they are answered when a server takes it.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise UnavailableError(
            f"cannot listen at {host} port {port}: {reason}; choose another --host or --port"
        ) from None
    return listening


def _allow_many_connections() -> None:
    """Raise the number of open files to what the system lets us: each connection is one."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows, which has no such limit

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
