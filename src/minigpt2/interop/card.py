"""A model card, README.md, from what a run knows of itself: what it is, what it was trained on.

It measures nothing and claims nothing that does not stand in the run's own files. Its layout is
card.md, a template.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Template

from minigpt2 import __version__
from minigpt2.checkpoints import RunDirectory, run_of
from minigpt2.errors import MiniGPT2Error
from minigpt2.files import read_json, read_sealed
from minigpt2.interop.opening import hub_address
from minigpt2.model import GPT2, LanguageModel, lora_layers
from minigpt2.settings import stored_config
from minigpt2.tokenizers import TRANSCRIPT, Tokenizer, transcript

_EXCERPT = 600  # characters of a sample


def model_card(name: str, model: LanguageModel, tokenizer: Tokenizer, folder: Path) -> str:
    """Return the card of the checkpoint in `folder`, under `name`; facts that are not there are
    left out."""
    layout = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    card = Template(layout, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    run = run_of(folder)
    question = transcript([{"role": "user", "content": "What is the sea?"}])
    return card.render(
        name=name,
        quoted_name=json.dumps(name),
        is_gpt2=isinstance(model, GPT2),
        adapted=bool(lora_layers(model)),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        shape=model.config,
        tokenizer=tokenizer,
        kind=type(tokenizer).__name__,
        asked=question if tokenizer.chat_template == TRANSCRIPT else "",
        version=__version__,
        **(_training(run, folder) if run else {}),
    )


def _training(run: RunDirectory, folder: Path) -> dict[str, Any]:
    """Return how it was trained and what was measured, as the run's own files say."""
    config = stored_config(run.path).config
    start = config.model.init or ""
    is_here = Path(start).exists()
    address = None if is_here else hub_address(start)
    state = _if_there(read_json, folder / "state.json") or {}
    log = _if_there(run.read_log) or []
    return {
        "config": config,
        "text": Path(config.data.input_file).name,
        "start": Path(start).name if is_here else start,  # a place here means nothing elsewhere
        "base": address and address[0],
        "state": state,
        "facts": _if_there(read_sealed, run.facts_path),
        "val_losses": [
            e["val_loss"] for e in log if "val_loss" in e and e["step"] == state.get("step")
        ],
        "sample": _last_sample(run),
    }


def _last_sample(run: RunDirectory) -> str:
    """Return the last sample the run wrote down."""
    try:
        text = run.samples_path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition("=== step ")[2].partition("===\n")[2].strip()[:_EXCERPT]


def _if_there(read: Callable[..., Any], *path: Path) -> Any:
    """Return what can be read, else None: a card says what is known, and no more."""
    try:
        return read(*path)
    except MiniGPT2Error:
        return None
