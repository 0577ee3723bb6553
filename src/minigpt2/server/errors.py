"""Errors as HTTP answers: one exception, one shape, and never a traceback.

A client of OpenAI's tries 408, 409, 429 and 5xx again, so what is wrong with a request is always
another 4xx.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from minigpt2.errors import DataError, UsageError

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

Kind = TypeVar("Kind")


class RefusedError(Exception):
    """An answer other than 200: its status, and one line that says what is wrong."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.code, self.param, self.headers = status, code, param, headers

    def body(self) -> dict[str, Any]:
        """Return what is sent: OpenAI's form of an error."""
        ours = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _KINDS.get(self.status, ours)
        told = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": told}

    def response(self) -> Response:
        """Return the answer."""
        return json_response(self.body(), self.status, self.headers)


def no_room() -> RefusedError:
    """Return the answer where the queue is full; in a second a place may be free."""
    return RefusedError(429, "the queue is full", "queue_full", headers={"Retry-After": "1"})


def refusal(error: Exception) -> RefusedError:
    """Return the answer to any error; what is not the client's fault tells nothing of itself."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, HTTPException):
        message = f"{error.detail}; /openapi.json lists what there is"
        return RefusedError(error.status_code, message, headers=error.headers)
    if isinstance(error, UsageError | DataError):
        full = "exceed the window" in str(error)
        return RefusedError(400, str(error), "context_length_exceeded" if full else None)
    return RefusedError(500, "the server failed at this request; its log says why")


async def on_error(request: Request, error: Exception) -> Response:
    """Answer an error (Starlette's handler)."""
    return refusal(error).response()


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer of JSON."""
    body = msgspec.json.encode(value)
    return Response(body, status, headers, media_type="application/json")


async def read(request: Request, kind: type[Kind]) -> Kind:
    """Return the request's body as a `kind`; raise RefusedError naming the field that is wrong."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        param = re.match(r"\.(\w+)", where)
        name = param[1] if param else None
        raise RefusedError(400, f"{name or 'the body'}: {what}", param=name) from None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise RefusedError(400, f"the body is not JSON: {str(error) or 'too deep'}") from None
