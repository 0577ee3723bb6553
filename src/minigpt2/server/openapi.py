"""The description of the API, made of the classes that check it."""

from typing import Any

import msgspec

from minigpt2 import __version__
from minigpt2.server.schema import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    Refusal,
    Reply,
    TokenizeRequest,
)

_POSTS = {
    "/v1/completions": (CompletionRequest, Reply, "Continue texts"),
    "/v1/chat/completions": (ChatRequest, Reply, "Answer in a conversation"),
    "/tokenize": (TokenizeRequest, None, "Return the ids of a text"),
    "/detokenize": (DetokenizeRequest, None, "Return the text of ids"),
}
_GETS = {
    "/health": "Whether the models are ready",
    "/v1/models": "The models",
    "/v1/models/{model}": "One model",
    "/tokenizer_info": "What an evaluating client must know of the tokenizer",
    "/openapi.json": "This description",
}
_STREAM: dict[str, Any] = {"text/event-stream": {}}


def describe() -> dict[str, Any]:
    """Return the OpenAPI document."""
    kinds = [CompletionRequest, ChatRequest, TokenizeRequest, DetokenizeRequest, Reply, Refusal]
    _, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Any] = {path: {"get": _get(path, text)} for path, text in _GETS.items()}
    for path, (request, reply, text) in _POSTS.items():
        paths[path] = {"post": _post(request, reply, text)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "minigpt2", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _content(kind: type | None) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"} if kind else {"type": "object"}
    return {"application/json": {"schema": schema}}


def _answers(kind: type | None, streams: bool = False) -> dict[str, Any]:
    content = _content(kind) | (_STREAM if streams else {})
    told = {"description": "OK", "content": content}
    return {"200": told, "default": {"description": "An error", "content": _content(Refusal)}}


def _get(path: str, text: str) -> dict[str, Any]:
    named = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {
        "summary": text,
        "responses": _answers(None),
        "parameters": named if "{model}" in path else [],
    }


def _post(request: type, reply: type | None, text: str) -> dict[str, Any]:
    body = {"required": True, "content": _content(request)}
    return {"summary": text, "requestBody": body, "responses": _answers(reply, reply is not None)}
