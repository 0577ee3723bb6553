"""One checkpoint directory: written whole or not at all, verified before it is believed.

It is a Hugging Face model directory with what resuming needs beside it, and a manifest, written
last, of every file's size and SHA-256.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from minigpt2.checkpoints.weights import config_to_json, read_model, state_to_disk
from minigpt2.errors import DataError, InputMissingError
from minigpt2.files import new_directory, read_json, read_sealed, sealed, sha256_of, write_file
from minigpt2.model import LanguageModel
from minigpt2.tokenizers import Tokenizer, load_tokenizer, tokenizer_files

MANIFEST = "manifest.json"
_STATE, _OPTIMIZER = "state.json", "optimizer.safetensors"


@dataclass(frozen=True)
class Progress:
    """What resuming needs beside the weights: plain numbers, and the optimizer's tensors."""

    numbers: dict[str, Any]
    optimizer: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(
    folder: Path, model: LanguageModel, tokenizer: Tokenizer, progress: Progress | None = None
) -> None:
    """Write `folder` atomically; a failure leaves whatever stood there before."""
    block_size = model.config.block_size
    eos = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    tensors = {name: value.detach().contiguous() for name, value in state_to_disk(model).items()}
    files = {
        "config.json": _json_bytes(config_to_json(model, tokenizer.eos_id)),
        "generation_config.json": _json_bytes({**eos, "do_sample": True}),
        "model.safetensors": save(tensors, metadata={"format": "pt"}),
        **tokenizer_files(tokenizer, block_size),
    }
    if progress is not None:
        files[_OPTIMIZER] = save(progress.optimizer)
        files[_STATE] = _json_bytes(progress.numbers)
    with new_directory(folder, folder.name) as temporary:
        for name, content in files.items():
            write_file(temporary / name, content)
        entries = {
            name: {"bytes": len(content), "sha256": sha256_of(temporary / name)}
            for name, content in files.items()
        }
        manifest = {"format": "minigpt2-checkpoint", "version": 1, "files": entries}
        write_file(temporary / MANIFEST, sealed(manifest))


def verify(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint's files, or None; a foreign one has no manifest."""
    path = folder / MANIFEST
    try:
        entries = read_sealed(path)["files"]
        if missing := {"config.json", "model.safetensors"} - entries.keys():
            return f"{MANIFEST} lacks {', '.join(sorted(missing))}"
        for name, entry in entries.items():
            file = folder / name
            if Path(name).name != name or not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {entry['bytes']}"
            if sha256_of(file) != entry["sha256"]:
                return f"{name} was altered: its SHA-256 is not the manifest's"
    except (DataError, InputMissingError) as error:
        return str(error)
    except (KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is no manifest of a checkpoint"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    return None


def load_checkpoint(folder: Path) -> tuple[LanguageModel, Tokenizer]:
    """Open a checkpoint or any Hugging Face GPT-2 directory, verifying it where it can be."""
    if not (folder / "config.json").is_file():
        raise InputMissingError(f"{folder} holds no model: config.json is missing")
    ours = (folder / MANIFEST).exists() or (folder / _STATE).exists()
    if ours and (fault := verify(folder)):
        raise DataError(f"checkpoint {folder}: {fault}; use another step, or train again")
    model, tokenizer = read_model(folder), load_tokenizer(folder)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise DataError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} ids, "
            f"the model only {model.config.vocab_size}"
        )
    return model, tokenizer


def load_progress(folder: Path) -> Progress:
    """Read what `save_checkpoint` wrote beside the weights."""
    try:
        return Progress(read_json(folder / _STATE), load_file(folder / _OPTIMIZER))
    except (FileNotFoundError, InputMissingError) as error:
        raise DataError(f"{folder} holds weights only; it cannot be resumed ({error})") from None
    except (ValueError, SafetensorError) as error:
        raise DataError(f"{folder} cannot be read: {error}") from None


def _json_bytes(tree: Any) -> bytes:
    return (json.dumps(tree, indent=1) + "\n").encode()
