"""LoRA adapters in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`.

PEFT sees GPT-2's linear maps as Conv1D, hence `fan_in_fan_out`; A and B have one orientation
there and here.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from minigpt2.checkpoints.weights import PREFIX, misfits, read_safetensors
from minigpt2.errors import DataError
from minigpt2.files import facts, read_json
from minigpt2.model import LanguageModel, add_lora, load_lora_state, lora_layers, lora_state

ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model." + PREFIX
_MOST_RANK, _MOST_ALPHA = 1 << 16, 1e9  # a damaged number must not ask for all memory
_FACTS = facts(__file__)


def is_adapter(folder: Path) -> bool:
    """Say whether a directory holds an adapter instead of a model."""
    return (folder / ADAPTER_CONFIG).is_file()


def adapter_to_disk(
    model: LanguageModel, base: str | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return adapter_config.json's content, and the tensors under PEFT's names.

    `base` is where the model beneath it lies.
    """
    layers = lora_layers(model)
    first = next(iter(layers.values()))
    tree = {
        **_FACTS["written"],
        "base_model_name_or_path": base,
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": first.lora_dropout.p,
        # By whole names: a shorter one could mean another model's other layers too.
        "target_modules": [PREFIX + name for name in layers],
    }
    return tree, {_PREFIX + name: value for name, value in lora_state(model).items()}


def adapter_base(folder: Path) -> str | None:
    """Return what an adapter says it was trained on: a directory or a name."""
    name = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def add_adapter(model: LanguageModel, folder: Path) -> None:
    """Put the adapter in `folder`, ours or PEFT's, on the model it was trained on."""
    tree, where = read_json(folder / ADAPTER_CONFIG), folder / ADAPTER_CONFIG
    for field, allowed in _FACTS["plain"].items():
        if tree.get(field) not in allowed:
            raise DataError(f"{where}: {field} {tree.get(field)!r} is not supported here")
    names = sorted({name.rpartition(".lora_")[0] for name in _named_tensors(folder)})
    targets = tree.get("target_modules")
    wanted = map(str, targets if isinstance(targets, list) else [])
    unmet = [t for t in wanted if not any(f".{PREFIX}{n}".endswith(f".{t}") for n in names)]
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
    load_adapter(model, folder)


def load_adapter(model: LanguageModel, folder: Path) -> None:
    """Give a model that has LoRA layers the adapter's numbers; all of them must fit."""
    tensors = _named_tensors(folder)
    if faults := misfits(tensors, lora_state(model)):
        raise DataError(f"{folder / ADAPTER} does not fit the model: {'; '.join(faults)}")
    load_lora_state(model, tensors)


def _named_tensors(folder: Path) -> dict[str, Tensor]:
    tensors = read_safetensors(folder / ADAPTER)
    return {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
