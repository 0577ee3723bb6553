"""LoRA adapters in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`.

PEFT sees GPT-2's linear maps as Conv1D, hence `fan_in_fan_out`; A and B have one orientation
there and here.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from minigpt2.checkpoints.weights import PREFIX, misfits, read_safetensors
from minigpt2.errors import DataError
from minigpt2.files import read_json
from minigpt2.model import LanguageModel, add_lora, load_lora_state, lora_layers, lora_state

ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model." + PREFIX
_MOST_RANK, _MOST_ALPHA = 1 << 16, 1e9  # a damaged number must not ask for all memory
# Settings that change what is computed, with the values that mean plain LoRA.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (None, False),
    "bias": (None, "none"),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "lora_bias": (None, False),
    "use_rslora": (None, False, True),
    "use_qalora": (None, False),
    "alora_invocation_tokens": (None, []),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, [], {}),
    # Others change the base model's weights at the start, which are then not the released ones.
    "init_lora_weights": (None, True, False, "gaussian", "orthogonal"),
}


def is_adapter(folder: Path) -> bool:
    """Say whether a directory holds an adapter instead of a model."""
    return (folder / ADAPTER_CONFIG).is_file()


def adapter_to_json(model: LanguageModel, base: str | None) -> dict[str, Any]:
    """Return the content of adapter_config.json; `base` is where the model beneath it lies."""
    layers = lora_layers(model)
    first = next(iter(layers.values()))
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": first.lora_dropout.p,
        # By whole names: a shorter one could mean another model's other layers too.
        "target_modules": [PREFIX + name for name in layers],
        "fan_in_fan_out": True,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def adapter_tensors(model: LanguageModel) -> dict[str, Tensor]:
    """Return the adapter's tensors under PEFT's names."""
    return {_PREFIX + name: value for name, value in lora_state(model).items()}


def adapter_base(folder: Path) -> str | None:
    """Return what an adapter says it was trained on: a directory or a name."""
    name = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def add_adapter(model: LanguageModel, folder: Path) -> None:
    """Put the adapter in `folder`, ours or PEFT's, on the model it was trained on."""
    tree, where = read_json(folder / ADAPTER_CONFIG), folder / ADAPTER_CONFIG
    for field, allowed in _PLAIN.items():
        if tree.get(field) not in allowed:
            raise DataError(f"{where}: {field} {tree.get(field)!r} is not supported here")
    tensors = _named(read_safetensors(folder / ADAPTER))
    names = sorted({name.rpartition(".lora_")[0] for name in tensors})
    targets = tree.get("target_modules")
    targets = targets if isinstance(targets, list) else []
    unmet = [
        t for t in map(str, targets) if not any(f".{PREFIX}{n}".endswith(f".{t}") for n in names)
    ]
    if unmet or not names:
        raise DataError(f"{folder / ADAPTER} has no tensors for {', '.join(unmet) or 'any layer'}")
    try:
        rank, alpha = int(tree["r"]), float(tree["lora_alpha"])
        dropout = float(tree.get("lora_dropout") or 0.0)
        if not 1 <= rank <= _MOST_RANK or not 0 <= dropout < 1 or not abs(alpha) <= _MOST_ALPHA:
            raise ValueError(f"rank {rank}, alpha {alpha}, dropout {dropout}")
        if tree.get("use_rslora"):  # divides by the root of the rank (arXiv 2312.03732)
            alpha *= rank**0.5
        add_lora(model, rank, alpha, dropout, names)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{folder} is no adapter of this model: {error}") from None
    load_adapter(model, folder, tensors)


def load_adapter(
    model: LanguageModel, folder: Path, tensors: dict[str, Tensor] | None = None
) -> None:
    """Give a model that has LoRA layers the adapter's numbers; all of them must fit."""
    tensors = _named(read_safetensors(folder / ADAPTER)) if tensors is None else tensors
    if faults := misfits(tensors, lora_state(model)):
        raise DataError(f"{folder / ADAPTER} does not fit the model: {'; '.join(faults)}")
    load_lora_state(model, tensors)


def _named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
