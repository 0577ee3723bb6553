"""The door: who may ask, how much, and for how long; and that nobody works for who has left.

A page of another site can have a browser ask us. It may not: its requests carry its own Origin,
and one that has turned its name into our address (DNS rebinding) carries its name as Host. So a
Host must be one of ours, and an Origin that Host.
"""

import asyncio
import hmac
import logging
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minigpt2.server.errors import RefusedError, no_room

_LOG = logging.getLogger("minigpt2.server")

MOST_BYTES = 8 << 20  # of a body: 128 prompts of any window here, with room to spare
MOST_HEAD_BYTES = 16 << 10
BODY_SECONDS = 30.0  # in which a body must come
READER_SECONDS = 60.0  # for which a reader may take nothing

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; "  # the page draws itself in one, to be saved as a picture
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
# No more than browsers send: a name or an address, and a port.
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
_LOCAL = ("localhost", "127.0.0.1", "::1")
_CLOSE = {"Connection": "close"}
_BODILESS = ("GET", "HEAD")


class Guard:
    """Wraps an application: only what passes reaches it, its body read and within bounds.

    While all is `full` a crowd is turned away here, which costs little. `hosts` are names by which
    we may be asked, beside those of this machine to itself; with `any_address` also every IP
    address. With a `token` all but the page itself wants it.
    """

    def __init__(
        self, app: ASGIApp, full: Callable[[], bool], hosts: Iterable[str] = (),
        any_address: bool = False, token: str | None = None,
    ) -> None:  # fmt: skip
        self._app, self._full = app, full
        self._any_address, self._token = any_address, token
        self._hosts = {*_LOCAL, *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            if message["type"] == "http.response.start":
                _LOG.info("%s %r %d", scope["method"], scope["path"], message["status"])
                message["headers"] = [*message.get("headers", []), *HEADERS]
            async with asyncio.timeout(READER_SECONDS):
                await send(message)

        try:
            self._check(scope)
            body = b"" if scope["method"] in _BODILESS else await _read_body(scope, receive)
        except RefusedError as refused:
            await refused.response()(scope, receive, send_in_time)
            return
        if body is None:  # who asked has left already
            return
        await _while_there(self._app, scope, body, receive, send_in_time)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        length = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if length + len(scope["raw_path"]) + len(scope["query_string"]) > MOST_HEAD_BYTES:
            raise RefusedError(431, f"a head of more than {MOST_HEAD_BYTES} bytes", headers=_CLOSE)
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._is_ours(host):
            raise RefusedError(403, "Host is no name of this server (--allow-host)", headers=_CLOSE)
        if not all(_same_place(origin, host) for origin in headers.getlist("origin")):
            raise RefusedError(403, "pages of other sites may not ask", headers=_CLOSE)
        if self._token is not None and not _is_public(scope):
            given = " ".join(headers.getlist("authorization"))
            kind, _, token = given.partition(" ")
            right = hmac.compare_digest(token.encode(), self._token.encode())
            if not right or kind.lower() != "bearer":
                what = "this is not this server's token" if given else "this server wants a token"
                raise RefusedError(
                    401, f"{what}: Authorization: Bearer TOKEN, the API key of clients",
                    "invalid_api_key", headers={"WWW-Authenticate": "Bearer", **_CLOSE},
                )  # fmt: skip
        if scope["path"].startswith("/v1/") and scope["method"] == "POST" and self._full():
            raise no_room()

    def _is_ours(self, host: str) -> bool:
        parts = _HOST.fullmatch(host.lower())
        name = (parts["six"] or parts["name"].rstrip(".")) if parts else ""
        return name in self._hosts or (self._any_address and _is_address(name))


def _same_place(origin: str, host: str) -> bool:
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place.lower() == host.lower()


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def _is_public(scope: Scope) -> bool:
    """Say whether this is the page itself, or the question whether we are well."""
    path = scope["path"] if scope["method"] in _BODILESS else ""
    return path in ("/", "/health", "/favicon.svg") or path.startswith("/assets/")


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """Return the whole body, None if it breaks off; raise RefusedError if it is too much."""
    parts, length = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                parts.append(message.get("body", b""))
                length += len(parts[-1])
                if length > MOST_BYTES:
                    raise RefusedError(
                        413, f"a body of more than {MOST_BYTES} bytes", headers=_CLOSE
                    )
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        what = f"the body did not come within {BODY_SECONDS:.0f} seconds"
        raise RefusedError(408, what, headers=_CLOSE) from None


async def _while_there(
    app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send
) -> None:
    """Let the application answer for as long as somebody is there to read it."""
    unread = [body]
    gone = asyncio.Event()

    async def receive_body() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    answering = asyncio.ensure_future(app(scope, receive_body, send))
    listening = asyncio.ensure_future(listen())
    try:
        await asyncio.wait({answering, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        listening.cancel()
        answering.cancel()
        ended = await asyncio.gather(answering, listening, return_exceptions=True)
    if isinstance(ended[0], Exception):  # who asked was told, if the answer had not begun
        _LOG.error("%s %s failed", scope["method"], scope["path"], exc_info=ended[0])
