"""`minigpt2 export`: a model in the formats of other programs, each checked by its own engine."""

from pathlib import Path
from typing import Literal

from minigpt2.cli.options import say
from minigpt2.errors import DataError, UsageError

_PROMPT = "The "
# What a file that may be replaced has in its first bytes, and which engine checks a new one.
_FORMS = {"gguf": (b"GGUF", "llama-cpp-python"), "onnx": (b"pytorch", "onnxruntime")}


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
    from minigpt2.checkpoints import run_of
    from minigpt2.interop import resolve_model

    folder = resolve_model(model, say)
    run = run_of(folder)
    ours = run.path.name if run else folder.resolve().name
    name = out.stem if out else f"{ours}-export"
    if format == "hf":
        return _export_directory(folder, out or Path(name), merge)
    return _export_file(folder, format, out or Path(f"{name}.{format}"), type or "f16")


def _export_directory(folder: Path, out: Path, merge: bool) -> int:
    from minigpt2.checkpoints import save_checkpoint, weights
    from minigpt2.interop import open_model
    from minigpt2.interop.card import model_card
    from minigpt2.model import lora_layers

    model, tokenizer = open_model(folder, say, merge)
    if out.resolve() == folder.resolve():
        raise UsageError(f"{out} is the model itself; choose another --out")
    card = model_card(out.name, model, tokenizer, folder)
    base = weights.adapter_base(folder) if weights.is_adapter(folder) else None
    save_checkpoint(out, model, tokenizer, base=base, more={"README.md": card.encode()})
    say(f"wrote {out}, with a model card; to publish it: hf upload OWNER/NAME {out}")
    if lora_layers(model):
        say(f"it is an adapter of {base}: publish that too, or export with --merge")
    return 0


def _export_file(folder: Path, form: str, out: Path, kind: str) -> int:
    from minigpt2.files import replace_by
    from minigpt2.interop import exports, open_model
    from minigpt2.model import GPT2

    model, tokenizer = open_model(folder, say)
    if not isinstance(model, GPT2):
        raise DataError(f"a bigram cannot become {form}, which knows no such model; a GPT-2 can")
    mark, engine = _FORMS[form]
    if out.exists() and not (out.is_file() and mark in _beginning(out)):
        raise UsageError(f"{out} exists and is no {form} file of ours; choose another --out")
    try:
        prompt = tokenizer.encode(_PROMPT)[: model.config.block_size // 2]
    except DataError:  # of characters that it does not know
        prompt = []
    text = _PROMPT if prompt else ""
    with replace_by(out) as temporary:
        if form == "gguf":
            for remark in exports.export_gguf(model, tokenizer, temporary, kind):
                say(remark)
            agreed = exports.check_gguf(model, tokenizer, temporary, kind, text)
        else:
            exports.export_onnx(model, temporary)
            agreed = exports.check_onnx(model, temporary, prompt or [0])
    say(f"wrote {out}: {out.stat().st_size / 1e6:,.1f} MB")
    say(agreed or f"not checked: {engine} is not installed (pip install {engine})")
    return 0


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
