"""What goes over the wire: OpenAI's completions and chat, and the tokenizer's endpoints.

Requests name OpenAI's fields and the extensions that other servers of open models share (top_k,
min_p, ...); fields that are not here are ignored, wrong types and values refused by name. `null`
always means the default. The same classes are the schemas of `/openapi.json`.
"""

import secrets
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from minigpt2.insight.record import Replacement
from minigpt2.sampling import Sampling

MOST_SAMPLES, MOST_STOPS, LONGEST_STOP, MOST_BIASES, MOST_LOGPROBS = 128, 32, 200, 1024, 20
MOST_TOKENS = 100_000  # of a sample: beyond every window, and not for ever

Samples = Annotated[int, Meta(ge=1, le=MOST_SAMPLES)]
Tokens = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
Id = Annotated[int, Meta(ge=0)]
Stop = Annotated[str, Meta(min_length=1, max_length=LONGEST_STOP)]
Prompt = Annotated[
    str | list[str | int | list[int]] | None,
    Meta(description="A text, token ids, or a list of either; null starts from <|endoftext|>."),
]


class StreamOptions(Struct):
    """What a stream tells beside the text."""

    include_usage: bool | None = None


class Wanted(Struct, kw_only=True):
    """What completions and chat have in common: which model, and how it is to write."""

    model: str | None = None
    max_tokens: Tokens | None = None
    temperature: float | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Samples | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=MOST_STOPS)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Annotated[dict[int, float], Meta(max_length=MOST_BIASES)] | None = None
    seed: int | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None  # -1 and 0: off
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: float | None = None
    min_tokens: Tokens | None = None
    stop_token_ids: Annotated[list[Id], Meta(max_length=MOST_STOPS)] | None = None
    ignore_eos: bool | None = None

    def sampling(self, defaults: Sampling, logprobs: int | None = None) -> Sampling:
        """Return these settings as the engine's; raise UsageError for values out of range."""
        seed = secrets.randbits(63) if self.seed is None else self.seed
        given: dict[str, Any] = {
            # What is called as the engine calls it, and then what is not, or in another form.
            **{item.name: getattr(self, item.name, None) for item in fields(Sampling)},
            "max_new_tokens": self.max_tokens,
            # Nothing of probability 0 can be asked for; the least that can is the likeliest.
            "top_p": None if self.top_p is None else max(self.top_p, 1e-9),
            "typical_p": None if self.typical_p is None else max(self.typical_p, 1e-9),
            "top_k": self.top_k if self.top_k and self.top_k > 0 else None,
            "logit_bias": tuple((self.logit_bias or {}).items()),
            "min_new_tokens": self.min_tokens,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            "seed": seed % (1 << 63),
            "logprobs": logprobs,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return replace(defaults, **given)


class CompletionRequest(Wanted, kw_only=True):
    """`POST /v1/completions`."""

    prompt: Prompt = None
    best_of: Samples | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MOST_LOGPROBS)] | None = None
    suffix: str | None = None


class Part(Struct):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class Message(Struct):
    """What somebody said."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    def said(self) -> dict[str, str]:
        """Return the message in the words of our transcripts, its content as one text."""
        parts, role = self.content, "system" if self.role == "developer" else self.role
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": role, "content": text}


class ChatRequest(Wanted, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=1024)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None


class TokenizeRequest(Struct):
    """`POST /tokenize`; no tokens are ever added, whatever `add_special_tokens` says."""

    prompt: str | None = None
    model: str | None = None
    add_special_tokens: bool | None = None


class DetokenizeRequest(Struct):
    """`POST /detokenize`."""

    tokens: list[Id]
    model: str | None = None


View = Literal["next", "attention", "lens", "contributions", "ablate", "walk"]
OneToken = Id | Annotated[str, Meta(min_length=1, max_length=LONGEST_STOP)] | None


class InspectRequest(Struct):
    """`POST /api/inspect`: what a view of the page shows; docs/look-inside.md tells what each is.

    `layer`, `head` and `position` count from 0. A token is an id, or a text that is one.
    """

    view: View
    prompt: str | None = None
    model: str | None = None
    layer: Id | None = None
    head: Id | None = None
    position: Id | None = None
    token: OneToken = None
    a: OneToken = None
    b: OneToken = None
    parts: Annotated[list[Annotated[str, Meta(max_length=40)]], Meta(max_length=4096)] | None = None
    replace: Replacement | None = None
