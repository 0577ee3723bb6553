"""Open a model by whatever names it: a run, a checkpoint, an adapter, a hub name; and save one.

From the Hugging Face hub models come through its own library, cache and settings: HF_HOME,
HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the like are that library's and work as ever.
"""

import contextlib
import re
import shlex
from pathlib import Path
from typing import Any

from minigpt2.checkpoints import RunDirectory, Say, directory, newest_run, run_of, weights
from minigpt2.errors import DataError, InputMissingError, UsageError, optional_library
from minigpt2.files import facts, pointed
from minigpt2.model import LanguageModel, merge_lora
from minigpt2.tokenizers import Tokenizer, load_tokenizer

_FACTS = facts(__file__)
RELEASED: dict[str, str] = _FACTS["released"]
_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_NAME = re.compile(rf"(?P<repository>{_PART}/{_PART})(@(?P<revision>[\w./-]+))?")


def hub_address(name: str) -> tuple[str, str | None] | None:
    """Return (repository, revision) if `name` can be a hub name, else None.

    >>> hub_address("gpt2"), hub_address("you/novel@v2"), hub_address("novel")
    (('openai-community/gpt2', None), ('you/novel', 'v2'), None)
    """
    bare, at, revision = name.partition("@")
    found = _NAME.fullmatch(RELEASED.get(bare, bare) + at + revision)
    return (found["repository"], found["revision"]) if found else None


def fetch_model(name: str, say: Say) -> Path:
    """Return a local folder with the model's files, downloading what the cache lacks.

    Raises UnavailableError without huggingface_hub, InputMissingError where the model cannot be
    had: then the line says what to place where.
    """
    address = hub_address(name)
    assert address is not None
    repository, revision = address
    place = (
        f"place config.json, model.safetensors and tokenizer.json of {repository} in a directory "
        "and give its path"
    )
    needed = f"{name} is fetched by huggingface_hub, which is not installed; {place}, or install it"
    hub = optional_library("huggingface_hub", "hub", needed)
    say(f"{name}: {repository} on the Hugging Face hub, or its copy in the cache")
    asked: dict[str, Any] = {"revision": revision, "allow_patterns": _FACTS["wanted"]}
    try:
        return Path(hub.snapshot_download(repository, **asked))
    except hub.errors.LocalEntryNotFoundError:  # offline, and not in the cache
        old_name = name.partition("@")[0]  # under which older caches keep it
        with contextlib.suppress(Exception):
            return Path(hub.snapshot_download(old_name, local_files_only=True, **asked))
        raise InputMissingError(
            f"{name} is not in the cache and the hub cannot be reached; {place}"
        ) from None
    except Exception as error:  # the library's own kinds are many, and change
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputMissingError(f"{name} cannot be fetched ({reason[:200]}); {place}") from None


Opened = tuple[LanguageModel, Tokenizer]

# Made by scripts/build_pretrained.py.
PRETRAINED = Path(__file__).parents[1] / "pretrained"
_LONGEST_NAME = 1000
PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_OTHERS = {
    ".gguf": "is GGUF, which is written here and not read; give the directory it was made from",
    ".onnx": "is ONNX, which is written here and not read; give the directory it was made from",
    ".safetensors": "is one file of a model; give the directory that also holds its config.json",
}


def from_pretrained(name_or_dir: str | Path, merge: bool = False) -> Opened:
    """Open a run (its best checkpoint), a checkpoint, a Hugging Face directory or a hub name.

    Returns the model in evaluation mode, fp32, and its tokenizer. An adapter comes with LoRA layers
    on its base model, or, with `merge`, as the plain model it amounts to. Raises InputMissingError,
    DataError or UnavailableError.
    """
    quiet: Say = lambda line: None  # noqa: E731
    return open_model(resolve_model(str(name_or_dir), quiet), quiet, merge)


def save_pretrained(
    model: LanguageModel, tokenizer: Tokenizer, folder: str | Path, base: str | None = None
) -> None:
    """Write a directory that `transformers` and `from_pretrained` open; atomic.

    A model with LoRA layers becomes an adapter that `peft` opens; `base` is the name or directory
    of the model beneath it.
    """
    directory.save_checkpoint(Path(folder), model, tokenizer, base=base)


def open_model(folder: Path, say: Say, merge: bool = True, mapped: bool = True) -> Opened:
    """Open what `resolve_model` returned; `merge` makes of an adapter and its base one model."""
    if not weights.is_adapter(folder):
        return directory.load_checkpoint(folder, mapped)
    directory.check_checkpoint(folder)
    model, tokenizer = directory.load_checkpoint(base_of(folder, say), mapped)
    weights.add_adapter(model, folder)
    model.eval()
    if merge:
        merge_lora(model)
    if (folder / "tokenizer.json").is_file():
        tokenizer = load_tokenizer(folder)
    directory.check_ids(model, tokenizer, folder)
    return model, tokenizer


def base_of(folder: Path, say: Say) -> Path:
    """Return the folder of the model an adapter sits on: the run's own copy, else what it names."""
    run = run_of(folder)
    if run is not None and (run.base_dir / "config.json").is_file():
        directory.check_base(folder, run.base_dir)
        return run.base_dir
    if (name := weights.adapter_base(folder)) is None:
        raise DataError(f"{folder} is an adapter that does not name its base model")
    try:
        base = resolve_model(name, say)
    except InputMissingError as error:
        raise InputMissingError(f"the base model of the adapter {folder}: {error}") from None
    if weights.is_adapter(base):
        raise DataError(f"{folder} names {base} as its base, which is an adapter itself")
    return base


def resolve_model(name: str | None, say: Say, runs_dir: Path = Path("runs")) -> Path:
    """Return the folder MODEL means: a run's best checkpoint, a directory, or a hub model's copy.

    A path that exists wins over a name. Without a name it is the newest run under `runs_dir`, else
    the small model that lies in the package. The choice is said.
    """
    if name and len(name) > _LONGEST_NAME:
        raise InputMissingError(f"no model has so long a name: {name[:60]}...")
    try:
        path = Path(name) if name else newest_run(runs_dir)
    except InputMissingError:
        say("model: the small one that comes along, trained on Shakespeare; yours: minigpt2 train")
        return PRETRAINED
    if not path.is_dir() and (path.is_file() or path.suffix in (*PICKLED, *_OTHERS)):
        path = _pointed_or_refused(path)
    run = RunDirectory(path)
    if run.exists() or run.checkpoints():
        if (folder := run.best(say)) is None:
            raise DataError(f"run {path} has no checkpoint that verifies")
        say(f"model: {folder}")
        return folder
    if path.is_dir():
        return path
    # If the first part of "a/b" is a folder here, a path was meant, mistyped.
    is_path = name and "/" in name and Path(name.split("/")[0]).is_dir()
    if name and hub_address(name) and not is_path:
        return fetch_model(name, say)
    raise InputMissingError(f"no run or model directory {path}{_hint(name, runs_dir)}")


def _pointed_or_refused(path: Path) -> Path:
    """Follow `best` and `latest` where links fail; say of any other file what to give instead."""
    if not path.exists():
        raise InputMissingError(f"no model {path}")
    if path.suffix in PICKLED:
        stem = "imported" if path.stem in ("ckpt", "pytorch_model", "model") else path.stem
        raise DataError(
            f"{path} is a pickled checkpoint, which can run code when opened; make a model "
            f"directory of it: minigpt2 import {shlex.quote(str(path))} --out {shlex.quote(stem)}"
        )
    if path.suffix in _OTHERS:
        raise UsageError(f"{path} {_OTHERS[path.suffix]}")
    if (target := pointed(path)) is None:
        raise UsageError(f"{path} is a file; MODEL is a run, a model directory or a hub name")
    return target


def _hint(name: str | None, runs_dir: Path) -> str:
    names = sorted(str(path) for path in runs_dir.glob("*") if RunDirectory(path).exists())
    hint = f"; runs here: {', '.join(names[-5:])}" if names else "; train one: minigpt2 train"
    if name and re.fullmatch(r"[\w-]+", name):
        hint += f"; on the hub: {', '.join(RELEASED)}, or OWNER/NAME"
    return hint
