"""The routes, what the small ones answer, and the description of all."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from minigpt2 import __version__
from minigpt2.errors import MiniGPT2Error
from minigpt2.sampling import Sampling
from minigpt2.server import schema
from minigpt2.server.completions import aside, complete, converse
from minigpt2.server.errors import RefusedError, json_response, on_error, read
from minigpt2.server.inspection import inspect
from minigpt2.server.runs import Runs
from minigpt2.server.worker import Worker
from minigpt2.tokenizers import Tokenizer, converses

STATIC_DIR = Path(__file__).parent / "static"  # built by `make page`, always in the wheel
_NO_PAGE = "The API alone (/openapi.json): in a source checkout make page builds the page.\n"
_LOADING = {"Retry-After": "1"}
# What the answers hold is OpenAI's, and docs/serve.md's, to tell.
_ANSWERS = {"200": {"description": "OK"}, "default": {"description": "An error, as OpenAI's"}}


async def tokenize(wanted: schema.TokenizeRequest, worker: Worker, defaults: Sampling) -> Response:
    """Return the ids of a text; a text that is exactly the end-of-text token is that token."""
    tokenizer, text = worker.tokenizer, wanted.prompt or ""
    if text == _end_of_text(tokenizer):
        return json_response({"tokens": [tokenizer.eos_id]})
    return json_response({"tokens": await aside(len(text), tokenizer.encode, text)})


async def detokenize(
    wanted: schema.DetokenizeRequest, worker: Worker, defaults: Sampling
) -> Response:
    """Return the text of ids."""
    tokenizer = worker.tokenizer
    if bad := [i for i in wanted.tokens if i >= tokenizer.vocab_size]:
        raise RefusedError(400, f"tokens: there is no token {bad[0]}", param="tokens")
    text = await aside(len(wanted.tokens), tokenizer.decode, wanted.tokens)
    return json_response({"prompt": text})


def _end_of_text(tokenizer: Tokenizer) -> str | None:
    return None if tokenizer.eos_id is None else tokenizer.decode([tokenizer.eos_id])


POSTS: dict[str, tuple[type, Callable[..., Awaitable[Response]]]] = {
    "/v1/completions": (schema.CompletionRequest, complete),
    "/v1/chat/completions": (schema.ChatRequest, converse),
    "/api/inspect": (schema.InspectRequest, inspect),
    "/tokenize": (schema.TokenizeRequest, tokenize),
    "/detokenize": (schema.DetokenizeRequest, detokenize),
}


class Api:
    """The models that are served, by name, and what requests get that say nothing."""

    def __init__(self, workers: Mapping[str, Worker], defaults: Sampling, runs: Runs) -> None:
        self._workers, self._defaults, self._runs = workers, defaults, runs
        self._gets: dict[str, Callable[[Request], Response]] = {
            "/health": self.health,
            "/v1/models": self.models,
            "/v1/models/{model:path}": self.one_model,
            "/tokenizer_info": self.tokenizer_info,
            "/api/runs": self.runs,
            "/api/runs/{run:path}": self.one_run,
            "/openapi.json": self.openapi,
        }

    def routes(self) -> list[BaseRoute]:
        """Return all routes, the page's last."""
        gets = [Route(path, answer) for path, answer in self._gets.items()]
        return [*gets, *(self._post(path, *told) for path, told in POSTS.items()), *page_routes()]

    def _post(self, path: str, kind: type, answer: Callable[..., Awaitable[Response]]) -> Route:
        async def endpoint(request: Request) -> Response:
            wanted = await read(request, kind)
            kept = await self._runs.checkpoint(wanted.model or "")
            return await answer(wanted, kept or self.worker(wanted.model), self._defaults)

        return Route(path, endpoint, methods=["POST"])

    def worker(self, name: str | None) -> Worker:
        """Return the model of this name, the first without one; raise RefusedError."""
        worker = self._workers.get(name) if name else next(iter(self._workers.values()))
        if worker is None:
            known = ", ".join(self._workers)
            if kept := self._runs.history((name or "").rpartition("@")[0]):
                known += f"; kept steps of that run: {', '.join(map(str, kept))}"
            message = f"there is no model {(name or '')[:100]!r} here; there is: {known}"
            raise RefusedError(404, message, "model_not_found", "model")
        if not worker.ready:
            raise RefusedError(503, f"{worker.name} is being loaded", "loading", headers=_LOADING)
        return worker

    def health(self, request: Request) -> Response:
        """Whether all models are ready (503 until then), and how much each has to do."""
        ready = all(worker.ready for worker in self._workers.values())
        models = {name: worker.load() for name, worker in self._workers.items()}
        told = {"status": "ok" if ready else "loading", "models": models}
        return json_response(told, 200 if ready else 503, None if ready else _LOADING)

    def openapi(self, request: Request) -> Response:
        """This description."""
        gets = {path: answer.__doc__ for path, answer in self._gets.items()}
        return json_response(describe(gets, POSTS))

    def models(self, request: Request) -> Response:
        """The models."""
        listed = [self._model(self.worker(name)) for name in self._workers]
        return json_response({"object": "list", "data": listed})

    def one_model(self, request: Request) -> Response:
        """One model."""
        return json_response(self._model(self.worker(request.path_params["model"])))

    def tokenizer_info(self, request: Request) -> Response:
        """What an evaluating client must know of the tokenizer."""
        tokenizer = self.worker(request.query_params.get("model")).tokenizer
        told = {"bos_token": None, "pad_token": None, "chat_template": tokenizer.chat_template}
        return json_response({"eos_token": _end_of_text(tokenizer), **told})

    def runs(self, request: Request) -> Response:
        """The runs: those of the models, and those beside them."""
        return json_response({"runs": self._runs.listed()})

    def one_run(self, request: Request) -> Response:
        """The curves and samples of one run."""
        return json_response(self._runs.told(request.path_params["run"]))

    def _model(self, worker: Worker) -> dict[str, Any]:
        assert worker.model is not None
        config = worker.model.config
        own = {
            "parameters": sum(p.numel() for p in worker.model.parameters()),
            "block_size": config.block_size,
            "vocab_size": worker.tokenizer.vocab_size,
            "n_layer": getattr(config, "n_layer", 0),  # a bigram has neither
            "n_head": getattr(config, "n_head", 0),
            "tokenizer": type(worker.tokenizer).__name__.removesuffix("Tokenizer").lower(),
            "chat": converses(worker.tokenizer),
            "overflow": self._defaults.overflow,
            "history": list(self._runs.history(worker.name)),
        }
        usual = {"id": worker.name, "object": "model", "created": worker.created}
        return {**usual, "owned_by": "minigpt2", "minigpt2": own}


def describe(
    gets: Mapping[str, str | None], posts: Mapping[str, tuple[type, Callable]]
) -> dict[str, Any]:
    """Return the OpenAPI document, made of the classes that check it and of what handlers say."""
    paths: dict[str, Any] = {}
    for path, text in gets.items():
        path = path.replace(":path}", "}")
        name = path.partition("{")[2].rstrip("}")
        given = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        named = {"parameters": [given]} if name else {}
        paths[path] = {"get": {"summary": text, "responses": _ANSWERS, **named}}
    for path, (kind, answer) in posts.items():
        form = {"$ref": f"#/components/schemas/{kind.__name__}"}
        body = {"required": True, "content": {"application/json": {"schema": form}}}
        told = {"summary": answer.__doc__, "requestBody": body, "responses": _ANSWERS}
        paths[path] = {"post": told}
    kinds = [kind for kind, _ in posts.values()]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    info = {"title": "minigpt2", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def page_routes() -> list[BaseRoute]:
    """Return the routes of the page; where it is not built, one that says how to."""

    def file(path: str, name: str) -> Route:
        kept = {"Cache-Control": "no-cache"}  # asked for anew each time: what it names may be new
        return Route(path, lambda request: FileResponse(STATIC_DIR / name, headers=kept))

    if not (STATIC_DIR / "index.html").is_file():
        return [Route("/", lambda request: PlainTextResponse(_NO_PAGE))]
    assets = Mount("/assets", StaticFiles(directory=STATIC_DIR / "assets"))
    return [file("/", "index.html"), file("/favicon.svg", "favicon.svg"), assets]


def make_app(workers: Mapping[str, Worker], defaults: Sampling, runs: Runs) -> Starlette:
    """Return the application."""
    answered = (RefusedError, HTTPException, MiniGPT2Error, Exception)
    return Starlette(
        routes=Api(workers, defaults, runs).routes(),
        exception_handlers=dict.fromkeys(answered, on_error),
    )
