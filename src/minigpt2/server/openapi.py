"""The description of the API, made of the classes that check it and of what handlers say."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from minigpt2 import __version__
from minigpt2.server.schema import Refusal, Reply


def describe(
    gets: Mapping[str, str | None], posts: Mapping[str, tuple[type, Callable]]
) -> dict[str, Any]:
    """Return the OpenAPI document of these addresses."""
    paths: dict[str, Any] = {}
    for path, text in gets.items():
        name, colon, _ = path.partition(":path}")
        given = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
        named = {"parameters": [given]} if colon else {}
        told = {"summary": text, "responses": _answers(None), **named}
        paths[name + "}" if colon else name] = {"get": told}
    for path, (kind, answer) in posts.items():
        body = {"required": True, "content": _content(kind)}
        responses = _answers(Reply if path.startswith("/v1") else None)
        told = {"summary": answer.__doc__, "requestBody": body, "responses": responses}
        paths[path] = {"post": told}
    kinds = [*(kind for kind, _ in posts.values()), Reply, Refusal]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    info = {"title": "minigpt2", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _content(kind: type | None) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"} if kind else {"type": "object"}
    return {"application/json": {"schema": schema}}


def _answers(kind: type | None) -> dict[str, Any]:
    stream: dict[str, Any] = {"text/event-stream": {}} if kind else {}
    right = {"description": "OK", "content": _content(kind) | stream}
    return {"200": right, "default": {"description": "An error", "content": _content(Refusal)}}
