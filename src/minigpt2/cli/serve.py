"""`minigpt2 serve`: an OpenAI-compatible server, and a page, for any models."""

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from minigpt2.cli.options import Opening, say
from minigpt2.errors import UsageError, optional_library
from minigpt2.sampling import Overflow, Sampling
from minigpt2.text import printable

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = ("0.0.0.0", "::", "")


def serve(
    models: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: Annotated[str | None, Parameter(env_var="MINIGPT2_TOKEN")] = None,
    allow_host: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    max_concurrency: int = 32,
    queue: int = 256,
    default_max_tokens: int = 16,
    context_overflow: Overflow = "error",
    log_requests: bool = False,
    opening: Opening = Opening(),  # noqa: B008 (frozen)
) -> int:
    """Serve models: OpenAI's completions API for clients, and a page for people.

    Parameters
    ----------
    models
        Run or checkpoint directories, or hub names, each served under its own name; default: the
        newest under runs/, else the one that comes along.
    host
        Address to listen at. Any but this machine's own to itself needs a token.
    port
        Port to listen at; 0 takes a free one.
    token
        What clients must give as their API key; MINIGPT2_TOKEN keeps it out of the process list.
    allow_host
        A further name by which clients reach this server; may be given several times.
    max_concurrency
        Samples of a model written at once; others wait.
    queue
        Samples of a model that may wait; more are told to try again (429).
    default_max_tokens
        Length of a sample where a request says nothing.
    context_overflow
        What happens to a text longer than the window: refuse it, or cut it, or let it slide.
    log_requests
        Write a line for every answer.
    """
    _check(host, port, token, max_concurrency, queue, default_max_tokens)
    optional_library("minigpt2.server.listening", "serve", "serving needs starlette and uvicorn")
    from minigpt2.checkpoints import run_of
    from minigpt2.server.listening import Server, bind
    from minigpt2.server.runs import Runs
    from minigpt2.server.worker import Worker

    def open_at(folder: Path):
        return opening.open(str(folder))[1:]

    folders = _named(models or (None,))
    workers = {
        name: Worker(name, partial(open_at, folder), max_concurrency, queue)
        for name, folder in folders.items()
    }
    runs = {name: run for name, folder in folders.items() if (run := run_of(folder))}
    listening = bind(host, port)
    place = f"[{host}]" if ":" in host else host
    address = f"http://{place}:{listening.getsockname()[1]}"

    if log_requests:
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    say(f"serving {printable(', '.join(workers))}")
    say(f"the page:    {address}/")
    key = "unused" if token is None else '"$MINIGPT2_TOKEN"  # the token'
    say(f"for clients: export OPENAI_BASE_URL={address}/v1 OPENAI_API_KEY={key}")
    server = Server(
        workers,
        Sampling(default_max_tokens, temperature=1.0, overflow=context_overflow),
        Runs(runs, open_at),
        hosts=(host, *allow_host),
        any_address=host in _EVERYWHERE,
        token=token,
    )
    server.serve_until_stopped(listening)
    return 0


def _check(
    host: str, port: int, token: str | None, slots: int, queue: int, max_tokens: int
) -> None:
    if host not in _LOOPBACK and not token:
        raise UsageError(
            f"--host {host} lets others in, so it needs a --token that they must know (or "
            "MINIGPT2_TOKEN)"
        )
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise UsageError("--token must be printable ASCII, as HTTP headers are")
    if not 0 <= port < 1 << 16:
        raise UsageError(f"--port must be from 0 to 65535, not {port}")
    if slots < 1 or queue < 0 or max_tokens < 0:
        raise UsageError("--max-concurrency must be at least 1, --queue and lengths at least 0")


def _named(models: Iterable[str | None]) -> dict[str, Path]:
    """Return where each model lies, by the name it is served under."""
    from minigpt2.checkpoints import run_of
    from minigpt2.interop import resolve_model
    from minigpt2.interop.opening import PRETRAINED

    found: dict[str, Path] = {}
    for model in models:
        folder = resolve_model(model, say)
        run = run_of(folder)
        name = run.path.resolve().name if run else folder.resolve().name
        if folder == PRETRAINED:
            name = "shakespeare"
        elif model and not Path(model).exists():  # a name of the hub
            name = model
        if name in found:
            raise UsageError(f"two models are called {name}; rename the folder of one of them")
        found[name] = folder
    return found
