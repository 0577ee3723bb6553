"""`config.json`, both ways: what a model is, in the words of the released checkpoints."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from minigpt2.errors import DataError
from minigpt2.files import facts
from minigpt2.model import ATTENTION, Bigram, BigramConfig, LanguageModel
from minigpt2.model.gpt2 import ACTIVATIONS, GPT2, MLP, Block, CausalSelfAttention, GPT2Config

_MOST_LAYERS = 10_000  # a damaged number must not build modules for hours
_FACTS = facts(__file__)
# What has one name in config.json and here.
_SIZES = ("vocab_size", "n_layer", "n_head", "n_embd")
_OPTIONAL = ("n_inner", "activation_function", "layer_norm_epsilon")
# The same function under another name.
_SAME_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new"}


def config_to_json(model: nn.Module, eos_id: int | None) -> dict[str, Any]:
    """Return the content of config.json; only a GPT-2 as published claims to be one."""
    if isinstance(model, Bigram):
        return {"model_type": "minigpt2-bigram", **vars(model.config)}
    if not isinstance(model, GPT2):
        return {"model_type": f"minigpt2-{type(model).__name__.lower()}"}
    c = model.config
    standard = type(model) is GPT2 and all(_is_gpt2s(block) for block in model.h)
    return {
        **_FACTS["written"],
        "model_type": "gpt2" if standard else "minigpt2-variant",
        "architectures": ["GPT2LMHeadModel"] if standard else [],
        **{name: getattr(c, name) for name in (*_SIZES, *_OPTIONAL)},
        **dict.fromkeys(("n_positions", "n_ctx"), c.block_size),
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), c.dropout),
        **dict.fromkeys(("bos_token_id", "eos_token_id"), eos_id),
    }


def _is_gpt2s(block: nn.Module) -> bool:
    """Say whether a block computes what GPT-2's does."""
    return (
        type(block) is Block
        and type(block.attn) is CausalSelfAttention
        and type(block.mlp) is MLP
        and block.attn.attend in ATTENTION.values()
        and all(type(part) is nn.Linear for part in block.modules() if isinstance(part, nn.Linear))
    )


def model_from_json(tree: dict[str, Any], where: Path) -> LanguageModel:
    """Build the model a config.json describes, untrained; refuse by name what we cannot honour."""
    try:
        if tree.get("model_type") == "minigpt2-bigram":
            return Bigram(BigramConfig(int(tree["vocab_size"]), int(tree["block_size"])))
        config = _gpt2_config(tree, where)
        with torch.device("meta"), _NothingDrawn():
            return GPT2(config)
    except (KeyError, TypeError, ValueError, OverflowError, ArithmeticError, RuntimeError) as error:
        raise DataError(f"{where} is no model configuration: {error!r}") from None


class _NothingDrawn(TorchFunctionMode):
    """Leaves out the drawing of weights that are about to be loaded.

    On the meta device it would cost no memory, but torch imports its compiler to do it: a second.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _gpt2_config(tree: dict[str, Any], where: Path) -> GPT2Config:
    if tree.get("model_type") != "gpt2":
        kind, classes = tree.get("model_type"), tree.get("architectures")
        named = f" ({', '.join(map(str, classes))})" if isinstance(classes, list) else ""
        raise DataError(f"{where}: model_type is {kind!r}{named}; only gpt2 can be opened")
    for field in _FACTS["fixed"]:
        value = _FACTS["written"][field]
        if tree.get(field, value) not in (value, None):
            raise DataError(f"{where}: {field} {tree[field]!r} is not supported, only {value}")
    activation = tree.get("activation_function") or "gelu_new"
    activation = _SAME_ACTIVATIONS.get(activation, activation)
    if activation not in ACTIVATIONS:
        known = ", ".join([*ACTIVATIONS, *_SAME_ACTIVATIONS])
        raise DataError(
            f"{where}: activation_function {activation!r} is not supported, only {known}"
        )
    sizes = {name: int(tree[name]) for name in _SIZES}
    usual = 4 * sizes["n_embd"]
    inner = int(tree.get("n_inner") or usual)
    config = GPT2Config(
        **sizes,
        block_size=int(tree.get("n_positions") or tree["n_ctx"]),
        dropout=float(tree.get("resid_pdrop", 0.1)),
        n_inner=None if inner == usual else inner,
        activation_function=activation,
        layer_norm_epsilon=float(tree.get("layer_norm_epsilon", 1e-5)),
    )
    dropout, epsilon = config.dropout, config.layer_norm_epsilon
    if not (0 <= dropout < 1 and 0 < epsilon < math.inf):
        raise DataError(f"{where}: resid_pdrop {dropout}, layer_norm_epsilon {epsilon}")
    if min(*sizes.values(), config.block_size, inner) < 1 or config.n_layer > _MOST_LAYERS:
        raise DataError(f"{where}: no model has these sizes: {config}")
    return config
