"""Weights as Hugging Face keeps them: names, orientation, one file or several, both directions.

The released checkpoints store linear layers as Conv1D, (in, out). `torch.nn.Linear` is (out, in);
it is transposed here and nowhere else.

LoRA adapters have the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`. PEFT
sees GPT-2's linear maps as Conv1D, hence `fan_in_fan_out`; A and B have one orientation there and
here.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from minigpt2.checkpoints.architecture import model_from_json
from minigpt2.errors import DataError, InputMissingError
from minigpt2.files import facts, read_json
from minigpt2.model import GPT2, LanguageModel, add_lora, load_lora_state, lora_layers, lora_state

PREFIX = "transformer."
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_LINEAR = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
# Buffers of old releases that carry no learned number: the causal mask and its fill value.
_MASKS = (".attn.bias", ".attn.masked_bias")
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
_ADAPTED = "base_model.model." + PREFIX
_MOST_RANK, _MOST_ALPHA = 1 << 16, 1e9  # a damaged number must not ask for all memory
_FACTS = facts(__file__)


def state_to_disk(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors under the names and orientation of the released files."""
    prefix = PREFIX if isinstance(model, GPT2) else ""
    return {prefix + name: transposed(name, value) for name, value in model.state_dict().items()}


def state_from_disk(tensors: dict[str, Tensor], model: nn.Module, where: Path) -> None:
    """Load released-style tensors into `model`; raise DataError listing all that do not fit.

    A model on the meta device takes the tensors as they are, memory-mapped, without a copy.
    """
    named = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    named = {name: value for name, value in named.items() if not name.endswith(_MASKS)}
    head = named.pop("lm_head.weight", None)
    if head is not None and "wte.weight" in named and not torch.equal(head, named["wte.weight"]):
        raise DataError(f"{where}: lm_head.weight is not wte.weight; only tied heads are known")
    state = {name: transposed(name, value) for name, value in named.items()}
    if faults := misfits(state, model.state_dict()):
        raise DataError(f"{where} does not fit its config.json: {'; '.join(faults)}")
    on_meta = next(model.parameters()).is_meta
    model.load_state_dict({name: value.float() for name, value in state.items()}, assign=on_meta)


def misfits(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    """List everything about `state` that keeps it from being loaded as `wanted`."""
    faults = [f"missing {name}" for name in sorted(wanted.keys() - state.keys())]
    faults += [f"unexpected {name}" for name in sorted(state.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & state.keys()):
        value, shape = state[name], wanted[name].shape
        if value.shape != shape:
            faults.append(f"misshaped {name}: {tuple(value.shape)}, needs {tuple(shape)}")
        elif value.dtype not in _DTYPES:
            faults.append(f"{value.dtype} {name}")
        # Far quicker than asking each number: a NaN or an infinity is always an extreme.
        elif value.numel() and not torch.stack(torch.aminmax(value.float())).isfinite().all():
            faults.append(f"not finite {name}")
    return faults


def read_model(folder: Path, mapped: bool = True) -> LanguageModel:
    """Open the model in a Hugging Face directory, in evaluation mode.

    `mapped` weights are the file's own pages, of which a write makes private copies; a model that
    is to be trained had better own its memory.
    """
    model = model_from_json(read_json(folder / "config.json"), folder / "config.json")
    load_weights(model, folder)
    if not mapped:
        for parameter in model.parameters():
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    model.eval()
    return model


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of a Hugging Face directory into `model`, whose shape must be theirs."""
    state_from_disk(_read_tensors(folder), model, folder / WEIGHTS)


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of model.safetensors, or of all the files its index names."""
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        return read_safetensors(folder / WEIGHTS)
    index = folder / INDEX
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise DataError(f"{index} holds no weight_map")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(map(str, places.values()))):
        if Path(name).name != name:  # a name with a separator would leave the directory
            raise DataError(f"{index}: {name!r} is not a file beside it")
        part = read_safetensors(folder / name)
        listed = {tensor for tensor, place in places.items() if place == name}
        if strays := sorted(listed ^ part.keys()):
            raise DataError(f"{index} and {name} disagree about {', '.join(strays)}")
        tensors |= part
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file, memory-mapped; DataError for one that is cut or lies."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputMissingError(f"{path} is missing{_pickle_hint(path.parent)}") from None
    except (ValueError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    except OSError as error:
        raise InputMissingError(f"{path} cannot be read: {error.strerror or error}") from None


def _pickle_hint(folder: Path) -> str:
    pickled = sorted(folder.glob("pytorch_model*.bin"))
    hint = "; there is only {}, which is a pickle. Convert it: minigpt2 import {} --out DIR"
    return hint.format(pickled[0].name, folder) if pickled else ""


def transposed(name: str, value: Tensor) -> Tensor:
    """Return a tensor in the other orientation, if it is one of the linear maps'."""
    return value.t() if name.endswith(_LINEAR) and value.dim() == 2 else value


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
    return tree, {_ADAPTED + name: value for name, value in lora_state(model).items()}


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
    return {name.removeprefix(_ADAPTED): value for name, value in tensors.items()}
