"""Our models as Hugging Face files: names, orientation, config.json, in both directions.

The released checkpoints store linear layers as Conv1D, (in, out). `torch.nn.Linear` is (out, in);
it is transposed here and nowhere else.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from minigpt2.errors import DataError, InputMissingError
from minigpt2.files import read_json
from minigpt2.model import (
    ATTENTION,
    GPT2,
    MLP,
    Bigram,
    BigramConfig,
    Block,
    CausalSelfAttention,
    GPT2Config,
    LanguageModel,
)

PREFIX = "transformer."
_LINEAR = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
# Buffers of old releases that carry no learned number: the causal mask and its fill value.
_MASKS = (".attn.bias", ".attn.masked_bias")
_MOST_LAYERS = 10_000  # a damaged number must not build modules for hours
# Every field that changes the mathematics, with the one value that is GPT-2 as built here.
_FIXED = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "tie_word_embeddings": True,
    "add_cross_attention": False,
}


def state_to_disk(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors under the names and orientation of the released files."""
    prefix = PREFIX if isinstance(model, GPT2) else ""
    return {prefix + name: _transposed(name, value) for name, value in model.state_dict().items()}


def state_from_disk(tensors: dict[str, Tensor], model: nn.Module, where: Path) -> None:
    """Load released-style tensors into `model`; raise DataError listing all that do not fit."""
    named = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    named = {
        name: value
        for name, value in named.items()
        if name != "lm_head.weight" and not name.endswith(_MASKS)
    }
    wanted = model.state_dict()
    faults = [f"missing {name}" for name in sorted(wanted.keys() - named.keys())]
    faults += [f"unexpected {name}" for name in sorted(named.keys() - wanted.keys())]
    state = {name: _transposed(name, value) for name, value in named.items()}
    faults += [
        f"{state[name].dtype} {name}" for name in state if not state[name].is_floating_point()
    ]
    faults += [f"not finite {name}" for name in state if not state[name].isfinite().all()]
    for name in sorted(wanted.keys() & state.keys()):
        if state[name].shape != wanted[name].shape:
            shapes = f"{tuple(state[name].shape)}, needs {tuple(wanted[name].shape)}"
            faults.append(f"misshaped {name}: {shapes}")
    if faults:
        raise DataError(f"{where} does not fit its config.json: {'; '.join(faults)}")
    # A model on the meta device has no memory of its own yet and takes the tensors as they are.
    on_meta = next(model.parameters()).is_meta
    owned = {
        name: value.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
    model.load_state_dict(owned, assign=on_meta)


def config_to_json(model: nn.Module, eos_id: int | None) -> dict[str, Any]:
    """Return the content of config.json; only a GPT-2 as published claims to be one."""
    if isinstance(model, Bigram):
        return {"model_type": "minigpt2-bigram", **vars(model.config)}
    if not isinstance(model, GPT2):
        return {"model_type": f"minigpt2-{type(model).__name__.lower()}"}
    c = model.config
    standard = type(model) is GPT2 and all(_is_gpt2s(block) for block in model.h)
    return {
        "model_type": "gpt2" if standard else "minigpt2-variant",
        "architectures": ["GPT2LMHeadModel"] if standard else [],
        "vocab_size": c.vocab_size,
        "n_positions": c.block_size,
        "n_ctx": c.block_size,
        "n_embd": c.n_embd,
        "n_layer": c.n_layer,
        "n_head": c.n_head,
        "n_inner": None,
        **_FIXED,
        "resid_pdrop": c.dropout,
        "embd_pdrop": c.dropout,
        "attn_pdrop": c.dropout,
        "initializer_range": 0.02,
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "use_cache": True,
        "dtype": "float32",
    }


def _is_gpt2s(block: nn.Module) -> bool:
    """Say whether a block computes what GPT-2's does."""
    return (
        type(block) is Block
        and type(block.attn) is CausalSelfAttention
        and type(block.mlp) is MLP
        and block.attn.attend in ATTENTION.values()
    )


def model_from_json(tree: dict[str, Any], where: Path) -> LanguageModel:
    """Build the model a config.json describes, untrained; refuse by name what we cannot honour."""
    try:
        if tree.get("model_type") == "minigpt2-bigram":
            return Bigram(BigramConfig(int(tree["vocab_size"]), int(tree["block_size"])))
        if tree.get("model_type") != "gpt2":
            kind = tree.get("model_type")
            raise DataError(f"{where}: model_type is {kind!r}; only gpt2 can be opened")
        width = int(tree["n_embd"])
        checks = {**_FIXED, "n_inner": 4 * width}
        for field, value in checks.items():
            if tree.get(field, value) not in (value, None):
                raise DataError(f"{where}: {field} {tree[field]!r} is not supported, only {value}")
        config = GPT2Config(
            vocab_size=int(tree["vocab_size"]),
            block_size=int(tree.get("n_positions") or tree["n_ctx"]),
            n_layer=int(tree["n_layer"]),
            n_head=int(tree["n_head"]),
            n_embd=width,
            dropout=float(tree.get("resid_pdrop", 0.1)),
        )
        sizes = (config.vocab_size, config.block_size, config.n_layer, config.n_head, config.n_embd)
        if min(sizes) < 1 or config.n_layer > _MOST_LAYERS:
            raise DataError(f"{where}: no model has these sizes: {config}")
        with torch.device("meta"):  # no number is drawn: the weights are about to be loaded
            return GPT2(config)
    except (KeyError, TypeError, ValueError, OverflowError, ArithmeticError, RuntimeError) as error:
        raise DataError(f"{where} is no model configuration: {error!r}") from None


def read_model(folder: Path) -> LanguageModel:
    """Open the model in a Hugging Face directory, in evaluation mode."""
    model = model_from_json(read_json(folder / "config.json"), folder / "config.json")
    load_weights(model, folder)
    model.eval()
    return model


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of a Hugging Face directory into `model`, whose shape must be theirs."""
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise InputMissingError(f"{path} is missing") from None
    except (ValueError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    state_from_disk(tensors, model, path)


def _transposed(name: str, value: Tensor) -> Tensor:
    return value.t() if name.endswith(_LINEAR) and value.dim() == 2 else value
