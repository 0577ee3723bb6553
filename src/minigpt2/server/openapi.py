"""The description of the API, made of the classes that check it and of what handlers say."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from minigpt2 import __version__

# What the answers hold is OpenAI's, and docs/serve.md's, to tell.
_ANSWERS = {"200": {"description": "OK"}, "default": {"description": "An error, as OpenAI's"}}


def describe(
    gets: Mapping[str, str | None], posts: Mapping[str, tuple[type, Callable]]
) -> dict[str, Any]:
    """Return the OpenAPI document of these addresses."""
    paths: dict[str, Any] = {}
    for path, text in gets.items():
        path = path.replace(":path}", "}")
        name = path.partition("{")[2].rstrip("}")
        given = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        named = {"parameters": [given]} if name else {}
        paths[path] = {"get": {"summary": text, "responses": _ANSWERS, **named}}
    for path, (kind, answer) in posts.items():
        schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        told = {"summary": answer.__doc__, "requestBody": body, "responses": _ANSWERS}
        paths[path] = {"post": told}
    kinds = [kind for kind, _ in posts.values()]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    info = {"title": "minigpt2", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}
