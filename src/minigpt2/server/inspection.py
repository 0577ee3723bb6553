"""`/api/inspect`: what the views of the page show, out of one recorded pass of the model.

Every view asks for what it draws and no more, arrays as bytes, so that none is above two megabytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from starlette.responses import Response
from torch import Tensor
from torch.nn import functional as F

from minigpt2.errors import DataError, UsageError
from minigpt2.generation import prompt_ids
from minigpt2.insight import ablate, contributions, head_scores, lens, rank_path, record
from minigpt2.insight.readings import CONTRIBUTIONS_NAMES, LENS_NAMES, PATTERNS, patterns
from minigpt2.sampling import Sampling
from minigpt2.server.completions import aside
from minigpt2.server.errors import RefusedError, json_response
from minigpt2.server.replies import spelt
from minigpt2.server.schema import InspectRequest, OneToken
from minigpt2.server.worker import Worker
from minigpt2.tokenizers import Tokenizer

MOST_TOKENS = 512  # of a text that is looked into: its patterns are this squared
_THUMBNAIL = 32  # cells a side
_LISTED = 200  # tokens that `next` names
_CHANGED = 10  # likeliest tokens, before and after, that `ablate` names
_AT_END = 5  # tokens of the final answer that `walk` names
# Of `walk`: what is recorded of the stream, of its norms and of a head.
_STREAM = ("resid_pre", "attn_out", "resid_mid", "pre", "post", "mlp_out", "resid_post")
_NORMS, _OF_HEAD = ("ln1", "ln2"), ("q", "k", "v", "z", "result")
_KINDS = {torch.float32: "f4", torch.int32: "i4", torch.uint8: "u1"}


async def inspect(wanted: InspectRequest, worker: Worker, defaults: Sampling) -> Response:
    """Look into the model while it reads a text."""
    text = wanted.prompt or ""
    ids = await aside(len(text), prompt_ids, worker.tokenizer, text)
    assert worker.model is not None
    most = min(MOST_TOKENS, worker.model.config.block_size)
    if len(ids) > most:
        message = f"{len(ids)} tokens are too many to look into at once; at most {most}"
        raise RefusedError(400, message, "context_length_exceeded", "prompt")
    look = Look(wanted, ids, worker.tokenizer)
    told = await worker.ask(getattr(look, f"look_{wanted.view}"))
    told |= {"model": worker.name, "view": wanted.view, "tokens": look.named(ids)}
    return json_response(told)


@dataclass(frozen=True)
class Look:
    """A request to look: what is wanted, and the ids of the text; `look_VIEW` answers each view."""

    wanted: InspectRequest
    ids: list[int]
    tokenizer: Tokenizer

    def named(self, ids: Iterable[int]) -> dict[str, Any]:
        """Return tokens as they are told: ids, and a text for each."""
        ids = list(ids)
        return {"ids": ids, "texts": [spelt(self.tokenizer, token_id) for token_id in ids]}

    def one(self, token_id: int) -> dict[str, Any]:
        """Return a single token as it is told."""
        return {"id": token_id, "text": spelt(self.tokenizer, token_id)}

    def place(self, name: str, size: int, default: int = 0) -> int:
        """Return a layer, head or position that was asked for; refuse one beyond the last."""
        value = getattr(self.wanted, name)
        if value is not None and value >= size:
            raise RefusedError(400, f"{name}: {value} is beyond the last, {size - 1}", param=name)
        return default if value is None else value

    def position(self) -> int:
        """Return the position that was asked for, else the last."""
        return self.place("position", len(self.ids), len(self.ids) - 1)

    def token(self, name: str, default: int) -> int:
        """Return the id of a token that was asked for; raise RefusedError for what is not one."""
        value: OneToken = getattr(self.wanted, name)
        if value is None:
            return default
        try:
            ids = self.tokenizer.encode(value) if isinstance(value, str) else [value]
        except DataError as error:
            raise RefusedError(400, f"{name}: {error}", param=name) from None
        if len(ids) != 1:
            raise RefusedError(400, f"{name}: {str(value)[:40]!r} is {len(ids)} tokens", param=name)
        if ids[0] >= self.tokenizer.vocab_size:
            raise RefusedError(400, f"{name}: there is no token {ids[0]}", param=name)
        return ids[0]

    def named_part(self, logits_V: Tensor) -> Tensor:
        """Return the logits of tokens that have a name: a padded vocabulary has more."""
        return logits_V[..., : self.tokenizer.vocab_size]

    def look_next(self, model: Any) -> dict[str, Any]:
        """The logits of what follows the text, and the likeliest tokens by name."""
        with torch.no_grad():
            tokens = torch.tensor([self.ids], device=next(model.parameters()).device)
            logits_V = self.named_part(model(tokens)[0, -1]).float()
        listed = logits_V.topk(min(_LISTED, len(logits_V))).indices.tolist()
        return {"logits": array(logits_V), "likeliest": self.named(listed)}

    def look_attention(self, model: Any) -> dict[str, Any]:
        """All heads small, with their scores; or the pattern of one head."""
        recording = record(model, self.ids, PATTERNS)
        if self.wanted.layer is not None:
            layer = self.place("layer", model.config.n_layer)
            head = self.place("head", model.config.n_head)
            return {"pattern": array(recording["pattern", layer][0, head])}
        small = F.adaptive_max_pool2d(patterns(recording).float(), min(len(self.ids), _THUMBNAIL))
        scores = {name: array(values) for name, values in vars(head_scores(recording)).items()}
        return {"thumbnails": array((255 * small).round().to(torch.uint8)), **scores}

    def look_lens(self, model: Any) -> dict[str, Any]:
        """The likeliest tokens by layer and position; and the path of one token, if asked for."""
        recording = record(model, self.ids, LENS_NAMES)
        named = self.tokenizer.vocab_size  # a padded vocabulary has more
        seen = lens(model, recording, vocab_size=named)
        texts = {i: spelt(self.tokenizer, i) for i in set(seen.ids.flatten().tolist())}
        told = {"ids": array(seen.ids), "probabilities": array(seen.probabilities)}
        told |= {"kl": array(seen.kl), "texts": texts}
        if self.wanted.token is None:
            return told
        token = self.token("token", 0)
        ranks, probabilities = rank_path(model, recording, self.position(), token, named)
        path = {"ranks": array(ranks), "probabilities": array(probabilities)}
        return {**told, "path": {"token": self.one(token), **path}}

    def look_contributions(self, model: Any) -> dict[str, Any]:
        """What each part gave to the difference of two logits."""
        recording = record(model, self.ids, CONTRIBUTIONS_NAMES)
        position = self.position()
        logits_V = self.named_part(recording.logits[0, position])
        likeliest = logits_V.topk(2).indices.tolist()
        a, b = (self.token(name, token) for name, token in zip("ab", likeliest, strict=True))
        parts = contributions(model, recording, position, a, b)
        told = {"a": self.one(a), "b": self.one(b), "parts": parts}
        told |= {"difference": float(logits_V[a] - logits_V[b])}
        return {**told, "total": sum(part.value for part in parts), "position": position}

    def look_ablate(self, model: Any) -> dict[str, Any]:
        """What the model says without some of its parts, beside what it says with them."""
        plain, wanted = record(model, self.ids, ()), self.wanted
        try:
            ablated = ablate(model, plain, wanted.parts or (), wanted.replace or "zero", ())
        except UsageError as error:
            raise RefusedError(400, str(error), param="parts") from None
        logprobs = [self.named_part(r.logits[0]).log_softmax(dim=-1) for r in (plain, ablated)]
        before, after = logprobs
        came = plain.tokens[0, 1:, None]
        own = torch.stack([each[:-1].gather(1, came)[:, 0] for each in logprobs])
        change = (before.exp() * (before - after)).nan_to_num(0.0).sum(dim=-1)
        tops = [each[-1].topk(min(_CHANGED, each.shape[-1])).indices.tolist() for each in logprobs]
        listed = list(dict.fromkeys(tops[0] + tops[1]))
        before_V, after_V = (each[-1, listed].exp().tolist() for each in logprobs)
        likeliest = {**self.named(listed), "before": before_V, "after": after_V}
        losses = [-row.mean().item() if len(row) else None for row in own]
        told = {"losses": losses, "logprobs": array(own), "kl": array(change)}
        return {**told, "likeliest": likeliest}

    def look_walk(self, model: Any) -> dict[str, Any]:
        """Every vector on one token's way through one block, and one of its heads."""
        names = ("hook_*", f"blocks.{self.wanted.layer or 0}.*")  # heads' results are dear
        recording, here = record(model, self.ids, names), self.position()
        layer = self.place("layer", model.config.n_layer)
        head = self.place("head", model.config.n_head)
        vectors = {name: recording[f"hook_{name}"][0, here] for name in ("embed", "pos_embed")}
        vectors |= {name: recording[name, layer][0, here] for name in _STREAM}
        vectors |= {ln: recording[f"blocks.{layer}.{ln}.hook_normalized"][0, here] for ln in _NORMS}
        vectors |= {name: recording[name, layer][0, here, head] for name in _OF_HEAD}
        for name, short in (("scores", "attn_scores"), ("pattern", "pattern")):
            vectors[name] = recording[short, layer][0, head, here, : here + 1]
        for name, short in (("keys", "k"), ("values", "v")):  # of all that this token may look at
            vectors[name] = recording[short, layer][0, : here + 1, head]
        end = self.named_part(recording.logits[0, here]).softmax(dim=-1)
        top = end.topk(min(_AT_END, len(end)))
        answer = {**self.named(top.indices.tolist()), "probabilities": top.values.tolist()}
        return {"vectors": {name: array(value) for name, value in vectors.items()}, "next": answer}


def array(values: Tensor) -> dict[str, Any]:
    """Return a tensor as it is sent: its bytes in base64, little endian, row by row."""
    told = values.detach().float() if values.is_floating_point() else values
    told = told if told.dtype in _KINDS else told.int()
    kind = _KINDS[told.dtype]
    data = np.ascontiguousarray(told.cpu().numpy().astype(f"<{kind}"))
    return {"shape": list(told.shape), "type": kind, "data": data.tobytes()}
