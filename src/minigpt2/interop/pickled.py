"""Checkpoints that other programs pickled, made into a model directory: the only way they come in.

Torch's restricted unpickler builds tensors and plain values and nothing else; a file that asks for
more is refused, and there is no other way to read it.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minigpt2.checkpoints import architecture, directory, weights
from minigpt2.errors import ConfigError, DataError, InputMissingError
from minigpt2.files import check_replaceable, read_json
from minigpt2.model import LanguageModel
from minigpt2.tokenizers import CharTokenizer, Tokenizer, load_tokenizer, make_tokenizer

_GPT2_SIZES = (50257, 50304)  # GPT-2's ids, and nanoGPT's round number above them
_PARTS = "pytorch_model*.bin"
_COMPILED = "_orig_mod."


def import_pickled(
    source: Path, out_dir: Path, text: str | None = None, tokenizer: str | None = None
) -> tuple[LanguageModel, Tokenizer]:
    """Make a model directory of a nanoGPT checkpoint or a Hugging Face one that is pickled.

    `text` is what a character model was trained on: its characters, sorted, are the vocabulary.
    `tokenizer` names another: gpt2, byte or a directory. Raises DataError for a file that would
    run code, lacks something or does not fit.
    """
    check_replaceable(out_dir)
    parts, folder = _files(source)
    tree: dict[str, Any] = {}
    for part in parts:
        tree |= _read(part)
    if "model_args" in tree:
        model = _from_nanogpt(tree, source)
        chosen = _tokenizer(model.config.vocab_size, text, tokenizer)
    elif (folder / "config.json").is_file():
        path = folder / "config.json"
        model = architecture.model_from_json(read_json(path), path)
        weights.state_from_disk(_tensors(tree, source), model, source)
        given = text is not None or tokenizer is not None
        size = model.config.vocab_size
        chosen = _tokenizer(size, text, tokenizer) if given else load_tokenizer(folder)
    else:
        raise DataError(
            f"{source} is neither nanoGPT's (it lacks model_args) nor beside a config.json; its "
            f"keys are {', '.join(map(str, list(tree)[:6]))}"
        )
    directory.check_ids(model, chosen, source)
    directory.save_checkpoint(out_dir, model, chosen)
    return model, chosen


def _files(source: Path) -> tuple[list[Path], Path]:
    """Return the files to read, and the folder where a config.json may lie."""
    if not source.exists():
        raise InputMissingError(f"no checkpoint {source}")
    if source.is_file():
        return [source], source.parent
    names = sorted(source.glob(_PARTS)) or [source / "ckpt.pt"]
    if not names[0].is_file():
        raise InputMissingError(f"{source} holds neither ckpt.pt nor {_PARTS}")
    return names, source


def _read(path: Path) -> dict[str, Any]:
    """Read one pickled file with the restricted unpickler."""
    try:
        # The zip form is mapped: of a nanoGPT file two thirds are the optimizer, never touched.
        mapped = zipfile.is_zipfile(path)
        tree = torch.load(path, weights_only=True, map_location="cpu", mmap=mapped)
    except Exception as error:  # a crafted file may make the unpickler raise anything
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise DataError(
                f"{path} asks for {asked[1]}, which is more than tensors, and was not read; ask "
                "whoever made it for safetensors"
            ) from None
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is damaged or no checkpoint: {reason[:120]}") from None
    if not isinstance(tree, Mapping):
        raise DataError(f"{path} holds a {type(tree).__name__}, not a dictionary of tensors")
    return dict(tree)


def _from_nanogpt(tree: Mapping[str, Any], source: Path) -> LanguageModel:
    """Build a model from nanoGPT's dictionary: linear layers as (out, in), biases optional."""
    arguments = tree["model_args"]
    if not isinstance(arguments, Mapping) or not isinstance(tree.get("model"), Mapping):
        raise DataError(f"{source}: model_args and model must be dictionaries")
    config = {
        "model_type": "gpt2",
        **{name: arguments.get(name) for name in ("vocab_size", "n_layer", "n_head", "n_embd")},
        "n_positions": arguments.get("block_size"),
        "resid_pdrop": arguments.get("dropout") or 0.0,
        "activation_function": "gelu",  # nanoGPT's is the exact one
    }
    model = architecture.model_from_json(config, source)
    stored = _tensors(tree["model"], source)
    if not arguments.get("bias", True):
        for name, value in model.state_dict().items():
            if name.endswith(".bias"):
                stored.setdefault(name, torch.zeros(value.shape))
    released = {name: weights.transposed(name, value) for name, value in stored.items()}
    weights.state_from_disk(released, model, source)
    return model


def _tensors(tree: Mapping[str, Any], source: Path) -> dict[str, Tensor]:
    """Return the tensors under the names the model has for them; what is no tensor is told."""
    named = {
        str(name).removeprefix(_COMPILED).removeprefix(weights.PREFIX): value
        for name, value in tree.items()
    }
    if strays := [name for name, value in named.items() if not _is_plain(value)]:
        raise DataError(f"{source}: {', '.join(strays[:5])} is no plain tensor")
    return named


def _is_plain(value: Any) -> bool:
    """Say whether a value is a tensor of numbers in memory: not sparse, nested or on meta."""
    strided = isinstance(value, Tensor) and value.layout is torch.strided
    return strided and not value.is_nested and not value.is_meta


def _tokenizer(vocab_size: int, text: str | None, name: str | None) -> Tokenizer:
    """Return the tokenizer of an imported model: asked for, of its text, or recognised by size."""
    if text is not None:
        made = CharTokenizer.from_text(text)
        if made.vocab_size != vocab_size:
            raise DataError(
                f"the text has {made.vocab_size} characters and the model {vocab_size} ids; give "
                "the very text it was trained on"
            )
        return made
    if name is None and vocab_size in _GPT2_SIZES:
        name = "gpt2"
    if name is None or not (name in ("gpt2", "byte") or Path(name).exists()):
        raise ConfigError(
            [f"a vocabulary of {vocab_size} ids is not GPT-2's; say --text FILE, the text a "
             "character model was trained on, or --tokenizer byte or DIR"]
        )  # fmt: skip
    return make_tokenizer(name)
