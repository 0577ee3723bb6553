"""`minigpt2 export`: a model in the formats of other programs, each checked by its own engine."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minigpt2.cli.options import say
from minigpt2.errors import DataError, UsageError

if TYPE_CHECKING:
    from minigpt2.model import LanguageModel
    from minigpt2.tokenizers import Tokenizer

_PROMPT = "The "
# What a file that may be replaced has in its first bytes.
_MARKS = {"gguf": b"GGUF", "onnx": b"pytorch"}


def export(
    model: str | None = None,
    *,
    format: Literal["hf", "gguf", "onnx"] = "hf",
    out: Path | None = None,
    type: Literal["f32", "f16", "bf16", "q8_0"] | None = None,
    merge: bool = False,
) -> int:
    """Write a model for other programs; gguf and onnx are checked by their engine, if it is here.

    hf: a directory for transformers, peft and the hub, with a model card. gguf: one file for
    llama.cpp, tokenizer included. onnx: one file for onnxruntime, input_ids to logits.

    Parameters
    ----------
    model
        Run, model directory or hub name; default: the newest run under runs/.
    format
        hf, gguf or onnx.
    out
        Where to write; default: beside you, called after the model.
    type
        Of gguf's matrices: f32, f16, bf16 or q8_0; default: f16.
    merge
        Make of a LoRA adapter and its base one model; gguf and onnx always do.
    """
    if type is not None and format != "gguf":
        raise UsageError("--type is for --format gguf")
    from minigpt2.interop import open_model, resolve_model

    folder = resolve_model(model, say)
    opened, tokenizer = open_model(folder, say, merge=merge or format != "hf")
    name = out.stem if out else _name_of(folder)
    if format == "hf":
        return _export_directory(opened, tokenizer, folder, out or Path(name))
    return _export_file(opened, tokenizer, format, out or Path(f"{name}.{format}"), type or "f16")


def _export_directory(
    model: "LanguageModel", tokenizer: "Tokenizer", folder: Path, out: Path
) -> int:
    from minigpt2.checkpoints import save_checkpoint, weights
    from minigpt2.interop.card import model_card
    from minigpt2.model import lora_layers

    if out.resolve() == folder.resolve():
        raise UsageError(f"{out} is the model itself; choose another --out")
    card = model_card(out.name, model, tokenizer, folder)
    base = weights.adapter_base(folder) if weights.is_adapter(folder) else None
    save_checkpoint(out, model, tokenizer, base=base, more={"README.md": card.encode()})
    say(f"wrote {out}, with a model card; to publish it: hf upload OWNER/NAME {out}")
    if lora_layers(model):
        say(f"it is an adapter of {base}: publish that too, or export with --merge")
    return 0


def _export_file(
    model: "LanguageModel", tokenizer: "Tokenizer", form: str, out: Path, kind: str
) -> int:
    from minigpt2.files import replace_by
    from minigpt2.interop import exports
    from minigpt2.model import GPT2

    if not isinstance(model, GPT2):
        raise DataError(f"a bigram cannot become {form}, which knows no such model; a GPT-2 can")
    if out.exists() and not (out.is_file() and _MARKS[form] in _beginning(out)):
        raise UsageError(f"{out} exists and is no {form} file of ours; choose another --out")
    text = _PROMPT if _encodes(tokenizer) else ""
    prompt = tokenizer.encode(text)[: model.config.block_size // 2] or [0]
    with replace_by(out) as temporary:
        if form == "gguf":
            for remark in exports.export_gguf(model, tokenizer, temporary, kind):
                say(remark)
            agreed = exports.check_gguf(model, tokenizer, temporary, kind, text)
        else:
            exports.export_onnx(model, temporary)
            agreed = exports.check_onnx(model, temporary, prompt)
    say(f"wrote {out}: {out.stat().st_size / 1e6:,.1f} MB")
    engine = {"gguf": "llama-cpp-python", "onnx": "onnxruntime"}[form]
    say(agreed or f"not checked: {engine} is not installed (pip install {engine})")
    return 0


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _encodes(tokenizer: "Tokenizer") -> bool:
    try:
        return bool(tokenizer.encode(_PROMPT))
    except DataError:
        return False


def _name_of(folder: Path) -> str:
    """Return what to call an export of a checkpoint: its run's name, else its own."""
    from minigpt2.checkpoints import run_of

    run = run_of(folder)
    return f"{run.path.name if run else folder.resolve().name}-export"
