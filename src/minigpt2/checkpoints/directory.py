"""One checkpoint directory: written whole or not at all, verified before it is believed.

It is a Hugging Face model directory with what resuming needs beside it, and a manifest, written
last, of every file's size and SHA-256.
"""

import errno
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from minigpt2 import files
from minigpt2.checkpoints import weights
from minigpt2.checkpoints.architecture import config_to_json
from minigpt2.checkpoints.weights import ADAPTER, ADAPTER_CONFIG, WEIGHTS, is_adapter
from minigpt2.errors import DataError, InputMissingError
from minigpt2.model import LanguageModel, lora_layers
from minigpt2.tokenizers import Tokenizer, load_tokenizer, tokenizer_files

MANIFEST = "manifest.json"
_STATE, _OPTIMIZER = "state.json", "optimizer.safetensors"
# What resuming needs beside the weights: plain numbers, and the optimizer's tensors.
Progress = tuple[dict[str, Any], dict[str, Tensor]]


def save_checkpoint(
    folder: Path,
    model: LanguageModel,
    tokenizer: Tokenizer,
    progress: Progress | None = None,
    base: str | None = None,
    more: dict[str, bytes] | None = None,
) -> None:
    """Write `folder` atomically; a failure leaves whatever stood there before.

    A model with LoRA layers becomes an adapter, which names its `base`. `more` are files to write
    beside.
    """
    adapted = bool(lora_layers(model))
    trees: dict[str, dict[str, Any]] = {}
    tensors: dict[str, dict[str, Tensor]] = {}
    if adapted:
        trees[ADAPTER_CONFIG], tensors[ADAPTER] = weights.adapter_to_disk(model, base)
    else:
        ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_id)
        trees["config.json"] = config_to_json(model, tokenizer.eos_id)
        trees["generation_config.json"] = {**ends, "do_sample": True}
        tensors[WEIGHTS] = weights.state_to_disk(model)
    if progress is not None:
        trees[_STATE], tensors[_OPTIMIZER] = progress
    contents = {**tokenizer_files(tokenizer, model.config.block_size), **(more or {})}
    contents |= {name: files.json_bytes(tree) for name, tree in trees.items()}
    with files.new_directory(folder) as temporary:
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        for name, named in tensors.items():
            _write_tensors(named, temporary / name)
        entries = {name: files.size_and_hash(temporary / name) for name in (*contents, *tensors)}
        manifest = {"format": "minigpt2-checkpoint", "version": 1, "files": entries}
        if adapted and base and (Path(base) / MANIFEST).is_file():
            manifest["base"] = files.sha256_of(Path(base) / MANIFEST)
        (temporary / MANIFEST).write_bytes(files.sealed(manifest))


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file straight from the tensors' memory."""
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(whole, path, metadata={"format": "pt"})
    except SafetensorError as error:  # the system's own reason stands in its text
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from None


def verify(folder: Path, resumable: bool = True) -> str | None:
    """Return what is wrong with a checkpoint's files, or None; a foreign one has no manifest.

    Who only wants the model leaves out the optimizer's numbers: `resumable` False.
    """
    path = folder / MANIFEST
    try:
        entries = files.read_sealed(path)["files"]
        needed = {ADAPTER_CONFIG, ADAPTER} if is_adapter(folder) else {"config.json", WEIGHTS}
        if missing := needed - entries.keys():
            return f"{MANIFEST} lacks {', '.join(sorted(missing))}"
        for name, entry in entries.items():
            if not resumable and name == _OPTIMIZER:
                continue
            file = folder / name
            if Path(name).name != name or not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {entry['bytes']}"
            if files.sha256_of(file) != entry["sha256"]:
                return f"{name} was altered: its SHA-256 is not the manifest's"
    except (DataError, InputMissingError) as error:
        return str(error)
    except (KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is no manifest of a checkpoint"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    return None


def load_checkpoint(folder: Path, mapped: bool = True) -> tuple[LanguageModel, Tokenizer]:
    """Open a checkpoint or any Hugging Face GPT-2 directory, verifying it where it can be.

    `mapped` weights lie in the file until they are written to: opened at once, and never twice in
    memory.
    """
    if not (folder / "config.json").is_file():
        raise InputMissingError(f"{folder} holds no model: config.json is missing")
    with ThreadPoolExecutor(1) as pool:  # hashing lets others run, and takes as long as the rest
        checked = pool.submit(check_checkpoint, folder)
        try:
            model, tokenizer = weights.read_model(folder, mapped), load_tokenizer(folder)
        finally:
            checked.result()  # that a file was altered says more than what came of it
    check_ids(model, tokenizer, folder)
    return model, tokenizer


def check_ids(model: LanguageModel, tokenizer: Tokenizer, where: Path) -> None:
    """Raise DataError if the tokenizer has ids of which the model knows nothing."""
    ids, rows = tokenizer.vocab_size, model.config.vocab_size
    if ids > rows:
        raise DataError(f"{where}: the tokenizer has {ids} ids, the model only {rows}")


def check_checkpoint(folder: Path) -> None:
    """Raise DataError if a checkpoint of ours is not as it was written; others can't be asked."""
    ours = (folder / MANIFEST).exists() or (folder / _STATE).exists()
    if ours and (fault := verify(folder, resumable=False)):
        raise DataError(f"checkpoint {folder}: {fault}; use another step, or train again")


def check_base(adapter_dir: Path, base_dir: Path) -> None:
    """Raise DataError if an adapter of ours was trained on another model than `base_dir` holds."""
    if (adapter_dir / MANIFEST).is_file():
        known = files.read_sealed(adapter_dir / MANIFEST).get("base")
        if known is not None and known != files.sha256_of(base_dir / MANIFEST):
            raise DataError(f"{base_dir} is not the model that {adapter_dir} was trained on")


def load_progress(folder: Path) -> Progress:
    """Read what `save_checkpoint` wrote beside the weights."""
    try:
        numbers = files.read_json(folder / _STATE)
        return numbers, weights.read_safetensors(folder / _OPTIMIZER)
    except InputMissingError as error:
        raise DataError(f"{folder} holds weights only; it cannot be resumed ({error})") from None
