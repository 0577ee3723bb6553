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
from typing import Any, Literal

import torch
from torch import Tensor, nn

from minigpt2.errors import UsageError
from minigpt2.model import ATTENTION, GPT2, Block, evaluating
from minigpt2.model.attention import attention_scores

Edit = Callable[[Tensor], Tensor]
Replacement = Literal["zero", "mean"]  # of what an ablated part writes
_PART = re.compile(r"L(\d{1,4})(?:H(\d{1,4})| (attention|MLP))?")
# What is told but not part of the computation: to edit it would change nothing.
_DERIVED = ("hook_scale", "hook_resid_mid", "hook_result")


@dataclass(frozen=True)
class Recording(Mapping[str, Tensor]):
    """What happened in one pass: the tokens (B, T), the logits (B, T, V), and values by name.

    `recording["blocks.0.attn.hook_pattern"]` and `recording["pattern", 0]` are the same.

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

    def __getitem__(self, name: Any) -> Tensor:
        """Return a value by its name, or by (short name, layer)."""
        if isinstance(name, tuple):
            short, layer = name
            ends = (f"blocks.{layer}.", f"hook_{short}")
            name = next((n for n in self if n.startswith(ends[0]) and n.endswith(ends[1])), name)
        return self.cache[name]

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
    exceed its window, and for edits of what does not exist or is only derived.
    """
    network = _recordable(model)
    device = network.wpe.weight.device
    tokens_BT = torch.as_tensor(tokens, device=device)
    tokens_BT = tokens_BT[None] if tokens_BT.ndim == 1 else tokens_BT
    if not 0 < tokens_BT.shape[1] <= network.config.block_size:
        raise UsageError(
            f"{tokens_BT.shape[1]} tokens to look at; it must be from 1 to the window's "
            f"{network.config.block_size}"
        )
    probe = _Probe((names,) if isinstance(names, str) else tuple(names), dict(edits or {}))
    with torch.no_grad(), evaluating(network), _hooked(network, probe):
        positions_BT = torch.arange(tokens_BT.shape[1], device=device).expand_as(tokens_BT)
        logits = network(tokens_BT, positions=positions_BT).float()
    if probe.edits:
        raise UsageError(f"no value that can be edited is called {min(probe.edits)}")
    return Recording(tokens_BT, logits, probe.values)


def _recordable(model: nn.Module) -> GPT2:
    """Return the model if every part of it is one that hooks know; else raise UsageError."""
    if not isinstance(model, GPT2):
        kind = type(model).__name__.lower()
        raise UsageError(f"a {kind} has no layers and heads to look into: only GPT-2 has")
    blocks: Iterable[Any] = model.h
    for layer, block in enumerate(blocks):
        own = type(block) is not Block or block.attn.attend not in ATTENTION.values()
        if own:
            raise UsageError(f"block {layer} is not GPT-2's own; its parts have no names here")
    return model


@dataclass
class _Probe:
    """Sees every value once, in order: edits it if asked to, and keeps it if wanted."""

    names: tuple[str, ...]
    edits: dict[str, Edit]  # still to be made
    values: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, value: Tensor) -> Tensor:
        if name in self.edits and not name.endswith(_DERIVED):
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

        def output(module: nn.Module, name: str) -> None:
            hook = module.register_forward_hook(lambda _, args, out: probe(name, out))
            stack.enter_context(hook)

        def input(module: nn.Module, name: str) -> None:
            def see(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
                return (probe(name, args[0]), *args[1:])

            stack.enter_context(module.register_forward_pre_hook(see))

        def norm(module: nn.LayerNorm, name: str) -> None:
            def see(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
                variance = args[0].float().var(dim=-1, keepdim=True, correction=0)
                probe(f"{name}.hook_scale", (variance + module.eps).sqrt())
                return probe(f"{name}.hook_normalized", out)

            stack.enter_context(module.register_forward_hook(see))

        output(model.wte, "hook_embed")
        output(model.wpe, "hook_pos_embed")
        blocks: Iterable[Any] = model.h
        for layer, block in enumerate(blocks):
            name = f"blocks.{layer}"
            input(block, f"{name}.hook_resid_pre")
            norm(block.ln_1, f"{name}.ln1")
            _hook_heads(block.attn, f"{name}.attn", probe, stack)
            output(block.attn, f"{name}.hook_attn_out")
            input(block.ln_2, f"{name}.hook_resid_mid")
            norm(block.ln_2, f"{name}.ln2")
            output(block.mlp.c_fc, f"{name}.mlp.hook_pre")
            input(block.mlp.c_proj, f"{name}.mlp.hook_post")
            output(block.mlp, f"{name}.hook_mlp_out")
            output(block, f"{name}.hook_resid_post")
        norm(model.ln_f, "ln_final")
        yield


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
    B, H, T, D = z_BHTD.shape
    alone_HBTHD = torch.zeros(H, B, T, H, D, dtype=z_BHTD.dtype, device=z_BHTD.device)
    for head in range(H):
        alone_HBTHD[head, :, :, head] = z_BHTD[:, head]
    results_HBTC = attn.c_proj(alone_HBTHD.flatten(3))
    if attn.c_proj.bias is not None:
        results_HBTC = results_HBTC - attn.c_proj.bias
    return results_HBTC.permute(1, 2, 0, 3)


def ablate(
    model: GPT2,
    recording: Recording,
    parts: Iterable[str],
    replace: Replacement = "zero",
    names: Iterable[str] = ("*",),
) -> Recording:
    """Record the same tokens once more, without some parts.

    A part is a head ("L0H3"), all of a layer's attention with its bias ("L0 attention"), its MLP
    ("L0 MLP"), or both ("L0"). Raises UsageError for one that the model does not have.
    """
    edits: dict[str, Edit] = {}
    heads: dict[str, list[int]] = {}
    for part in parts:
        layer, head, kind = _understood(model, part)
        if head is not None:
            heads.setdefault(f"blocks.{layer}.attn.hook_z", []).append(head)
            continue
        for own, output in (("attention", "attn_out"), ("MLP", "mlp_out")):
            if kind in (None, own):
                edits[f"blocks.{layer}.hook_{output}"] = _without(replace)
    edits |= {name: _without(replace, chosen) for name, chosen in heads.items()}
    return record(model, recording.tokens, tuple(names), edits)


def _understood(model: GPT2, part: str) -> tuple[int, int | None, str | None]:
    found = _PART.fullmatch(part)
    layers, heads = model.config.n_layer, model.config.n_head
    if not found or int(found[1]) >= layers or int(found[2] or 0) >= heads:
        raise UsageError(
            f"{part[:40]!r} is no part of this model: L0 to L{layers - 1}, with H0 to H{heads - 1} "
            "for a head, or with attention or MLP behind a blank"
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
