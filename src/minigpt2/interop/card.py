"""A model card, README.md, from what a run knows of itself: what it is, what it was trained on.

It measures nothing and claims nothing that does not stand in the run's own files.
"""

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

from minigpt2 import __version__
from minigpt2.checkpoints import RunDirectory, run_of
from minigpt2.config import Config
from minigpt2.errors import MiniGPT2Error
from minigpt2.files import read_json, read_sealed
from minigpt2.interop.hub import hub_address
from minigpt2.model import GPT2, LanguageModel, lora_layers
from minigpt2.settings import stored_config
from minigpt2.tokenizers import TRANSCRIPT, Tokenizer, transcript

_EXCERPT = 600  # characters of a sample
_KINDS = {
    "CharTokenizer": "characters",
    "ByteTokenizer": "bytes",
    "BPETokenizer": "byte-level BPE",
    "ForeignTokenizer": "another program's tokenizer.json",
}


def model_card(name: str, model: LanguageModel, tokenizer: Tokenizer, folder: Path) -> str:
    """Return the card of the checkpoint in `folder`, under `name`; facts that are not there are
    left out."""
    run = run_of(folder)
    config = stored_config(run.path).config if run else None
    parts = [
        _front(model, config),
        f"# {name}\n",
        _what(model, tokenizer, config),
        _facts(model, tokenizer),
        _training(run, config, folder) if run and config else "",
        _section("What it writes", _last_sample(run)) if run else "",
        _layout() if tokenizer.chat_template == TRANSCRIPT else "",
        _usage(name, model, tokenizer),
        f"Written by minigpt2 {__version__}.\n",
    ]
    return "\n".join(part for part in parts if part)


def _front(model: LanguageModel, config: Config | None) -> str:
    """Return what the hub reads: YAML between lines of dashes."""
    adapted, start = bool(lora_layers(model)), config.model.init if config else None
    lines = [f"library_name: {'peft' if adapted else 'transformers'}"]
    lines.append("pipeline_tag: text-generation")
    if start and not Path(start).exists() and (address := hub_address(start)):
        lines.append(f"base_model: {address[0]}")
    lines += ["tags:", "- gpt2", "- minigpt2", *(["- lora"] if adapted else [])]
    return "\n".join(["---", *lines, "---", ""])


def _what(model: LanguageModel, tokenizer: Tokenizer, config: Config | None) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    kind = "A GPT-2" if isinstance(model, GPT2) else "A bigram table"
    adapted = " with LoRA corrections" if lora_layers(model) else ""
    text = f"{kind}{adapted} of {count:,} parameters"
    if config is not None:
        start = config.model.init or ""
        start = Path(start).name if Path(start).exists() else start  # a place here means nothing
        verb = f"fine-tuned from `{start}`" if start else "trained"
        text += f", {verb} on `{Path(config.data.input_file).name}`"
    asked = " It answers as in a conversation." if tokenizer.chat_template else ""
    return f"{text}.{asked} It continues text; it knows no more than what it was trained on.\n"


def _facts(model: LanguageModel, tokenizer: Tokenizer) -> str:
    rows = [("context", f"{model.config.block_size} tokens")]
    if isinstance(model, GPT2):
        c = model.config
        rows.append(("layers, heads, width", f"{c.n_layer}, {c.n_head}, {c.n_embd}"))
    kind = _KINDS.get(type(tokenizer).__name__, "its own")
    rows.append(("vocabulary", f"{tokenizer.vocab_size:,} tokens ({kind})"))
    return _table(rows)


def _training(run: RunDirectory, config: Config, folder: Path) -> str:
    """Return how it was trained and what was measured, as the run's own files say."""
    training, rows = config.training, []
    state = _if_there(read_json, folder / "state.json") or {}
    if state:
        rows.append(("optimizer steps", f"{state['step']:,}"))
        rows.append(("tokens seen", f"{state['tokens']:,}"))
        rows.append(("time", f"{state['seconds']:.0f} s"))
    facts = _if_there(read_sealed, run.facts_path)
    if facts:
        rows.append(("computed with", f"{facts['plan']['dtype']} on {facts['plan']['machine']}"))
    rows.append(("batch", f"{training.batch_size} sequences of {config.sequence_length} tokens"))
    rows.append(("optimizer", f"{training.optimizer}, learning rate {training.learning_rate:g}"))
    log = _if_there(run.read_log) or []
    measured = [e["val_loss"] for e in log if "val_loss" in e and e["step"] == state.get("step")]
    if measured:
        loss = f"{measured[-1]:.4f} nats a token, whole validation split"
        rows.append(("validation loss", loss))
    if facts and facts.get("bigram_loss"):
        rows.append(("a bigram table's", f"{facts['bigram_loss']:.4f}"))
    return "## Training\n\n" + _table(rows)


def _last_sample(run: RunDirectory) -> str:
    """Return the last sample the run wrote down."""
    try:
        text = run.samples_path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition("=== step ")[2].partition("===\n")[2].strip()[:_EXCERPT]


def _layout() -> str:
    asked = transcript([{"role": "user", "content": "What is the sea?"}])
    return _section("How it is asked", asked) + "\nIt answers until `<|endoftext|>`.\n"


def _section(title: str, quoted: str) -> str:
    """Return a section with an indented text, as it stands; nothing for none."""
    return f"## {title}\n\n{indent(quoted, '    ', lambda line: True)}\n" if quoted else ""


def _usage(name: str, model: LanguageModel, tokenizer: Tokenizer) -> str:
    if not isinstance(model, GPT2):
        return f"## Use\n\n```sh\nminigpt2 generate {name}\n```\n"
    verb, kind = "chat" if tokenizer.chat_template else "generate", "AutoModelForCausalLM"
    opened = f"from transformers import {kind}, AutoTokenizer"
    if lora_layers(model):
        kind = "AutoPeftModelForCausalLM"
        opened = f"from peft import {kind}\nfrom transformers import AutoTokenizer"
    return (
        f"## Use\n\n```sh\nminigpt2 {verb} {name}\n```\n\n```python\n{opened}\n\n"
        f"model = {kind}.from_pretrained({json.dumps(name)})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({json.dumps(name)})\n```\n"
    )


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows), ""])


def _if_there(read: Callable[..., Any], *path: Path) -> Any:
    """Return what can be read, else None: a card says what is known, and no more."""
    try:
        return read(*path)
    except MiniGPT2Error:
        return None
