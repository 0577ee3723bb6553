"""One forward pass with everything in it kept, or without some of its parts: from outside.

Hooks are put on the model's parts for the time of one pass and taken off again; the model's own
files know nothing of it. Names and shapes are those of TransformerLens (Nanda and Bloom 2022), so
that what is written for it reads the same here: `blocks.3.attn.hook_pattern`, (B, H, T, T).

An ablated part writes nothing into the residual stream ("zero"), or the mean of what it writes over
the positions of the text ("mean"), which keeps what it says regardless of where it is.

Shapes: B batch, T time, C = n_embd, H = n_head, D = C // H, V = vocab_size.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from minigpt2.errors import UsageError
from minigpt2.model import ATTENTION, GPT2, Block, evaluating
from minigpt2.model.attention import attention_scores

Edit = Callable[[Tensor], Tensor]
Replacement = Literal["zero", "mean"]  # of what an ablated part writes
_PART = re.compile(r"L(\d{1,4})(?:H(\d{1,4})| (attention|MLP))?")
# Told, but nothing is computed from it: what to edit in its place.
_DERIVED = {"hook_scale": "hook_normalized", "hook_result": "hook_z or hook_attn_out"}
# What TransformerLens calls values and parts of a block in short.
_VALUES = {"attn": "pattern", "attn_logits": "attn_scores", "query": "q", "key": "k", "value": "v",
           "mlp_pre": "pre", "mlp_post": "post"}  # fmt: skip
_PARTS = {"a": "attn", "attention": "attn", "m": "mlp"}


@dataclass(frozen=True)
class Recording(Mapping[str, Tensor]):
    """What happened in one pass: the tokens (B, T), the logits (B, T, V), and values by name.

    `recording["blocks.1.attn.hook_pattern"]` is `recording["pattern", 1]`, and with two layers
    `recording["pattern", -1]`. Where a block has several of a name, its part is the third:
    `recording["scale", 1, "ln2"]`; `recording["scale"]` is the final norm's.

    ==================================  ============  =========================================
    name                                shape         what it is
    ==================================  ============  =========================================
    hook_embed, hook_pos_embed          (B, T, C)     rows of wte and wpe
    blocks.L.hook_resid_pre, _mid,      (B, T, C)     the residual stream before the block,
    _post                                             between its two parts, and behind it
    blocks.L.ln1.hook_scale             (B, T, 1)     what LayerNorm divides by
    blocks.L.ln1.hook_normalized        (B, T, C)     what the part reads (also ln2, ln_final)
    blocks.L.attn.hook_q, _k, _v, _z    (B, T, H, D)  queries, keys, values; values as gathered
    blocks.L.attn.hook_attn_scores      (B, H, T, T)  before the softmax; -inf for the future
    blocks.L.attn.hook_pattern          (B, H, T, T)  after it: rows sum to 1
    blocks.L.attn.hook_result           (B, T, H, C)  what each head adds to the stream
    blocks.L.hook_attn_out, _mlp_out    (B, T, C)     what the part adds: the heads and a bias
    blocks.L.mlp.hook_pre, _post        (B, T, 4C)    neurons before and after the GELU
    ==================================  ============  =========================================
    """

    tokens: Tensor
    logits: Tensor
    cache: dict[str, Tensor] = field(repr=False)
    layers: int  # of the model, whatever was kept

    def __getitem__(self, key: Any) -> Tensor:
        """Return a value by its name, or as TransformerLens has it: (short name, layer, part)."""
        names = self._names(*key) if isinstance(key, tuple) else [key, *self._names(key)]
        found = [name for name in names if name in self.cache]
        if not found:
            known = dict.fromkeys(re.sub(r"^blocks\.\d+", "blocks.L", name) for name in self)
            raise KeyError(f"nothing recorded is called {key!r}; there is: {', '.join(known)}")
        return self.cache[found[0]]

    def _names(self, short: str, layer: int | None = None, part: str | None = None) -> list[str]:
        """Return the full names that a short one may stand for."""
        if isinstance(layer, int) and layer < 0:
            layer += self.layers
        block = "" if layer is None else f"blocks.{layer}."
        parts = (f"{_PARTS.get(part, part)}.",) if part else ("", "attn.", "mlp.", "ln_final.")
        return [f"{block}{part}hook_{_VALUES.get(short, short)}" for part in parts]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cache)

    def __len__(self) -> int:
        return len(self.cache)


def record(
    model: nn.Module,
    tokens: Tensor | Sequence[int],
    names: str | Iterable[str] = ("*",),
    edits: Mapping[str, Edit] | None = None,
) -> Recording:
    """Run a GPT-2 over tokens, (T,) or (B, T), without dropout, and keep what happens in it.

    `names` are patterns of what is kept ("*.hook_pattern"); the logits always are. `edits` maps
    names to functions of a value: what they return takes its place, and the model goes on with
    that. Attention runs as it is written in the paper, which is equal to the fast kernels but for
    rounding. Raises UsageError for a model that is not GPT-2 through and through, for tokens that
    are not its own or exceed its window, and for edits of what does not exist or is only derived.
    """
    network = _recordable(model)
    tokens_BT = _rows(network, tokens)
    probe = _Probe((names,) if isinstance(names, str) else tuple(names), dict(edits or {}))
    with torch.no_grad(), evaluating(network), _hooked(network, probe):
        places_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        logits = network(tokens_BT, positions=places_T.expand_as(tokens_BT)).float()
    for name in probe.edits:
        instead = _DERIVED.get(name.rpartition(".")[2], "what a recording of everything names")
        raise UsageError(f"{name} is nothing that can be edited; edit {instead}")
    return Recording(tokens_BT, logits, probe.values, network.config.n_layer)


def _rows(model: GPT2, tokens: Tensor | Sequence[int]) -> Tensor:
    """Return tokens as rows (B, T); raise UsageError for what cannot be this model's."""
    window = model.config.block_size
    wrong = f"tokens must be ids, (T,) or (B, T) with T from 1 to the window's {window}, not"
    try:
        ids = torch.atleast_2d(torch.as_tensor(tokens, device=model.wpe.weight.device))
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{wrong} {str(tokens)[:40]!r}") from None
    if ids.ndim > 2 or not 0 < ids.shape[1] <= window or not torch.can_cast(ids.dtype, torch.long):
        raise UsageError(f"{wrong} {ids.dtype} {tuple(ids.shape)}")
    check_ids(ids, model.config.vocab_size)
    return ids.long()


def check_ids(ids: Any, vocab_size: int) -> None:
    """Raise UsageError for an id that no token has."""
    strange = [i for i in torch.as_tensor(ids).flatten().tolist() if not 0 <= i < vocab_size]
    if strange:
        raise UsageError(f"there is no token {strange[0]}; the model's are 0 to {vocab_size - 1}")


def _recordable(model: nn.Module) -> GPT2:
    """Return the model if every part of it is one that hooks know; else raise UsageError."""
    if not isinstance(model, GPT2):
        kind = type(model).__name__.lower()
        raise UsageError(f"a {kind} has no layers and heads to look into: only GPT-2 has")
    blocks: Iterable[Any] = model.h
    for layer, block in enumerate(blocks):
        if type(block) is not Block or block.attn.attend not in ATTENTION.values():
            raise UsageError(f"block {layer} is not GPT-2's own; its parts have no names here")
    return model


@dataclass
class _Probe:
    """Sees every value once, in order: edits it if asked to, and keeps it if wanted."""

    names: tuple[str, ...]
    edits: dict[str, Edit]  # still to be made
    values: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, value: Tensor) -> Tensor:
        if name in self.edits and not name.endswith(tuple(_DERIVED)):
            edited = self.edits.pop(name)(value.clone())  # what was kept before is not to change
            if not isinstance(edited, Tensor) or edited.shape != value.shape:
                raise UsageError(f"the edit of {name} must return a tensor {tuple(value.shape)}")
            value = edited
        if self.wants(name):
            self.values[name] = value
        return value

    def wants(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.names)


@contextmanager
def _hooked(model: GPT2, probe: _Probe) -> Iterator[None]:
    """Within the context every part of the model passes what it sees through the probe."""
    with ExitStack() as stack:

        def norm(module: nn.LayerNorm, name: str) -> None:
            def see(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
                variance = args[0].float().var(dim=-1, keepdim=True, correction=0)
                probe(f"{name}.hook_scale", (variance + module.eps).sqrt())
                return probe(f"{name}.hook_normalized", out)

            stack.enter_context(module.register_forward_hook(see))

        for rows, name in ((model.wte, "hook_embed"), (model.wpe, "hook_pos_embed")):
            hook = rows.register_forward_hook(lambda _, args, out, name=name: probe(name, out))
            stack.enter_context(hook)
        blocks: Iterable[Any] = model.h
        for layer, block in enumerate(blocks):
            norm(block.ln_1, f"blocks.{layer}.ln1")
            norm(block.ln_2, f"blocks.{layer}.ln2")
            _hook_heads(block.attn, f"blocks.{layer}.attn", probe, stack)
        norm(model.ln_f, "ln_final")
        # An attribute goes before the modules of the same name, which stay as they are.
        vars(model)["h"] = [partial(_walk, b, f"blocks.{n}", probe) for n, b in enumerate(blocks)]
        stack.callback(vars(model).pop, "h")
        yield


def _walk(block: Any, name: str, probe: _Probe, x: Tensor, *rest: Tensor | None) -> Tensor:
    """Compute a block step by step, each step through the probe; `rest` is the cache and mask."""
    x = probe(f"{name}.hook_resid_pre", x)
    attn_out = probe(f"{name}.hook_attn_out", block.attn(block.ln_1(x), *rest))
    x = probe(f"{name}.hook_resid_mid", x + attn_out)
    pre = probe(f"{name}.mlp.hook_pre", block.mlp.c_fc(block.ln_2(x)))
    post = probe(f"{name}.mlp.hook_post", block.mlp.act(pre))
    mlp_out = probe(f"{name}.hook_mlp_out", block.mlp.c_proj(post))
    return probe(f"{name}.hook_resid_post", x + mlp_out)


def _hook_heads(attn: Any, name: str, probe: _Probe, stack: ExitStack) -> None:
    """Let a layer's heads be computed step by step, each step through the probe."""

    def attend(
        q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, dropout: float, mask: Tensor | None = None
    ) -> Tensor:
        def seen(short: str, value_BHTD: Tensor) -> Tensor:  # named and shaped (B, T, H, D)
            return probe(f"{name}.hook_{short}", value_BHTD.transpose(1, 2)).transpose(1, 2)

        q_BHTD, k_BHTD, v_BHTD = seen("q", q_BHTD), seen("k", k_BHTD), seen("v", v_BHTD)
        scores = probe(f"{name}.hook_attn_scores", attention_scores(q_BHTD, k_BHTD, mask))
        pattern = probe(f"{name}.hook_pattern", scores.softmax(dim=-1))
        z_BHTD = seen("z", pattern.to(v_BHTD.dtype) @ v_BHTD)
        if probe.wants(f"{name}.hook_result"):
            probe(f"{name}.hook_result", _head_results(attn, z_BHTD))
        return z_BHTD

    stack.callback(setattr, attn, "attend", attn.attend)
    attn.attend = attend


def _head_results(attn: Any, z_BHTD: Tensor) -> Tensor:
    """What each head adds to the stream, (B, T, H, C): the output map with the others at zero.

    Asked of the layer itself, so that it holds for adapted and for quantized maps too.
    """
    # The first H says which head is left, the second is where it stands.
    alone_BTDHH = torch.diag_embed(z_BHTD.permute(0, 2, 3, 1))
    results_HBTC = attn.c_proj(alone_BTDHH.permute(3, 0, 1, 4, 2).flatten(3))
    if attn.c_proj.bias is not None:
        results_HBTC = results_HBTC - attn.c_proj.bias
    return results_HBTC.permute(1, 2, 0, 3)


def ablate(
    model: GPT2,
    recording: Recording,
    parts: str | Iterable[str],
    replace: Replacement = "zero",
    names: str | Iterable[str] = ("*",),
) -> Recording:
    """Record the same tokens once more, without some parts.

    A part is a head ("L0H3"), all of a layer's attention with its bias ("L0 attention"), its MLP
    ("L0 MLP"), or both ("L0"). Raises UsageError for one that the model does not have, and for
    a replacement that is none.
    """
    if replace not in get_args(Replacement):
        raise UsageError(f"replace must be 'zero' or 'mean', not {replace!r}")
    edits: dict[str, Edit] = {}
    heads: dict[str, list[int]] = {}
    for part in [parts] if isinstance(parts, str) else parts:
        layer, head, kind = _understood(model, part)
        if head is not None:
            heads.setdefault(f"blocks.{layer}.attn.hook_z", []).append(head)
            continue
        for own, output in (("attention", "attn_out"), ("MLP", "mlp_out")):
            if kind in (None, own):
                edits[f"blocks.{layer}.hook_{output}"] = _without(replace)
    edits |= {name: _without(replace, chosen) for name, chosen in heads.items()}
    return record(model, recording.tokens, names, edits)


def _understood(model: GPT2, part: str) -> tuple[int, int | None, str | None]:
    found = _PART.fullmatch(str(part))
    layers, heads = model.config.n_layer, model.config.n_head
    if not found or int(found[1]) >= layers or int(found[2] or 0) >= heads:
        raise UsageError(
            f"{str(part)[:40]!r} is no part of this model: L0 to L{layers - 1}, with H0 to "
            f"H{heads - 1} for a head, or with attention or MLP behind a blank"
        )
    return int(found[1]), None if found[2] is None else int(found[2]), found[3]


def _without(replace: Replacement, heads: list[int] | None = None) -> Edit:
    """Return what silences a value (B, T, ...), or of one (B, T, H, D) these heads."""

    def edit(value: Tensor) -> Tensor:
        chosen = slice(None) if heads is None else heads
        part, edited = value[:, :, chosen], value.clone()
        edited[:, :, chosen] = 0 * part if replace == "zero" else part.mean(dim=1, keepdim=True)
        return edited

    return edit
