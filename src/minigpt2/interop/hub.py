"""Models by name from the Hugging Face hub, through its own library, cache and settings.

HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the like are that library's and work as ever.
"""

import contextlib
import re
from pathlib import Path
from typing import Any

from minigpt2.checkpoints import Say
from minigpt2.errors import InputMissingError, optional_library
from minigpt2.files import facts

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
