"""Models for other programs: a GGUF for llama.cpp, an ONNX for onnxruntime; both are then run.

A GGUF holds weights and tokenizer. Names are llama.cpp's for the architecture gpt2; linear maps are
(out, in) there, as in torch. Matrices take the asked type; norms, biases and positions stay
float32, as llama.cpp's own converter leaves them. An ONNX knows no tokenizer and no cache: it is
the mathematics of one pass, `input_ids` (B, T) in, `logits` (B, T, V) out.
"""

import contextlib
import ctypes
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minigpt2 import __version__
from minigpt2.checkpoints.weights import PREFIX
from minigpt2.errors import DataError, MiniGPT2Error, optional_library
from minigpt2.model import ATTENTION, GPT2, set_attention
from minigpt2.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, byte_symbols

# The types it can be written in, and how far logits may be from ours, as a share of their spread.
# llama.cpp looks its GELU up in a half-precision table, so float32 is not closer than that.
TYPES = {"f32": 5e-3, "f16": 1e-2, "bf16": 5e-2, "q8_0": 1e-1}
# llama.cpp wants at least one merge. These two bytes are in no UTF-8, so it never applies.
_NO_MERGE = (0xFF, 0xFE)
TOLERANCE = 1e-4  # of an ONNX's logits, absolute
_LARGEST = 1_800_000_000  # bytes of weights inside an ONNX: its format ends at 2 GiB
_CHECKED_TOKENS = 32


def export_gguf(model: GPT2, tokenizer: Tokenizer, path: Path, kind: str) -> list[str]:
    """Write `path` as `kind`, a key of TYPES; return remarks for a person.

    Raises DataError for a tokenizer that GGUF cannot express, UnavailableError without gguf.
    """
    gguf = optional_library("gguf", "export", "GGUF is written by the library gguf")
    pieces = _pieces(tokenizer, model.config.vocab_size)
    writer = gguf.GGUFWriter(path, "gpt2")
    _add_shape(writer, model, path.stem)
    file_type = "ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"
    writer.add_file_type(gguf.LlamaFileType[file_type])
    _add_tokenizer(writer, gguf, pieces, tokenizer)
    remarks = _add_tensors(writer, gguf, model, kind)
    if (name := model.config.activation_function) != "gelu_new":
        remarks.append(f"the activation {name} becomes GGUF's tanh-GELU: logits differ a bit")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return remarks


def _add_shape(writer: Any, model: GPT2, name: str) -> None:
    c = model.config
    writer.add_name(name)
    writer.add_description(f"written by minigpt2 {__version__}")
    writer.add_context_length(c.block_size)
    writer.add_embedding_length(c.n_embd)
    writer.add_feed_forward_length(c.n_inner or 4 * c.n_embd)
    writer.add_block_count(c.n_layer)
    writer.add_head_count(c.n_head)
    writer.add_layer_norm_eps(c.layer_norm_epsilon)


def _add_tensors(writer: Any, gguf: Any, model: GPT2, kind: str) -> list[str]:
    """Add every tensor in its type; return a remark where rows do not fit the asked one."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, model.config.n_layer)
    types, remarks = gguf.GGMLQuantizationType, []
    wanted = types[kind.upper()]
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    for name, value in model.state_dict().items():
        array, chosen = value.detach().cpu().float().contiguous().numpy(), wanted
        if array.ndim == 1 or name == "wpe.weight":
            chosen = types.F32
        elif array.shape[1] % block:
            chosen = types.F16
            remarks = [f"rows that are no multiple of {kind}'s {block} numbers stay f16"]
        theirs = names.get_name(PREFIX + name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(theirs, gguf.quants.quantize(array, chosen), raw_dtype=chosen)
    return remarks


def _pieces(tokenizer: Tokenizer, vocab_size: int) -> list[str]:
    """Return the text of every id in byte symbols, or say why there is none."""
    symbols = byte_symbols()
    if isinstance(tokenizer, CharTokenizer):
        if strange := [letter for letter in tokenizer.characters if ord(letter) > 127]:
            raise DataError(
                "GGUF has no tokenizer for characters beyond ASCII, and this one has "
                f"{' '.join(map(repr, strange[:5]))}; "
                "train with --data.tokenizer byte or bpe:N for GGUF"
            )
        pieces = [symbols[ord(letter)] for letter in tokenizer.characters]
    elif isinstance(tokenizer, BPETokenizer):
        vocabulary: dict[str, int] = tokenizer.to_json()["model"]["vocab"]
        pieces = [text for text in vocabulary if text not in tokenizer.specials]
    else:
        raise DataError("GGUF is written of characters, bytes and byte-level BPE only")
    pieces += tokenizer.specials
    return pieces + [f"[PAD{number}]" for number in range(len(pieces), vocab_size)]


def _add_tokenizer(writer: Any, gguf: Any, pieces: list[str], tokenizer: Any) -> None:
    symbols, types = byte_symbols(), gguf.TokenType
    no_merge = " ".join(symbols[byte] for byte in _NO_MERGE)
    merges = tokenizer.to_json()["model"].get("merges") or [no_merge]
    # Special tokens come last, then rows without a token. What is recognised in a text here is so
    # there as well.
    specials, added = tokenizer.specials, tokenizer.recognised
    kinds = [types.NORMAL] * (tokenizer.vocab_size - len(specials))
    kinds += [types.USER_DEFINED if text in added else types.CONTROL for text in specials]
    kinds += [types.UNUSED] * (len(pieces) - len(kinds))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    if tokenizer.eos_id is not None:
        writer.add_bos_token_id(tokenizer.eos_id)
        writer.add_eos_token_id(tokenizer.eos_id)
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)


def check_gguf(model: GPT2, tokenizer: Tokenizer, path: Path, kind: str, text: str) -> str | None:
    """Run the file in llama.cpp where it is installed; return what was compared, None: nothing.

    Its tokenizer must give our ids of `text`, and its logits along our greedy continuation be
    within what `kind` explains. Raises MiniGPT2Error where they are not.
    """
    try:
        import llama_cpp
    except ImportError:
        return None
    ids = tokenizer.encode(text)[: model.config.block_size // 2] or [0]
    length = min(model.config.block_size, len(ids) + _CHECKED_TOKENS)
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    engine = llama_cpp.Llama(
        str(path), n_ctx=length, n_batch=length, logits_all=True, verbose=False,
        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, n_threads=1,
    )  # fmt: skip
    with contextlib.closing(engine):
        if (theirs := engine.tokenize(text.encode(), add_bos=False)) != tokenizer.encode(text):
            raise MiniGPT2Error(f"{path}: llama.cpp's ids of {text!r} are {theirs}, not ours")
        differences, equal = [torch.zeros(())], 0
        for tokens, logits in _greedily(model, ids, length - len(ids)):
            ours = logits[0, -1]
            engine.reset()
            engine.eval(tokens[0].tolist())
            theirs = torch.from_numpy(np.array(engine.scores[tokens.shape[1] - 1]))[: len(ours)]
            differences.append((ours - theirs).abs().max() / ours.std())
            equal += int(ours.argmax() == theirs.argmax())
    furthest, count = torch.stack(differences).max().item(), length - len(ids)
    if not furthest <= TYPES[kind]:  # not a number is no agreement either
        raise MiniGPT2Error(
            f"{path}: llama.cpp's logits are {furthest:.3f} of their spread away from ours, more "
            f"than {kind} explains ({TYPES[kind]}); please report it"
        )
    return (
        f"llama.cpp {llama_cpp.__version__} agrees: {equal} of {count} greedy tokens equal, logits "
        f"within {furthest:.4f} of their spread"
    )


def _greedily(model: GPT2, ids: list[int], steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield tokens (1, T) and their logits (1, T, V) along our greedy continuation of `ids`."""
    tokens = torch.tensor([ids])
    for _ in range(steps):
        with torch.inference_mode():
            logits = model(tokens)
        yield tokens, logits
        tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)


def export_onnx(model: GPT2, path: Path) -> None:
    """Write `path`; weights beyond 2 GB go into a file beside it. Both sizes of the input are free.

    The model gets the explicit attention path, of which the file is made. Raises UnavailableError
    without onnx and onnxscript.
    """
    for library in ("onnx", "onnxscript"):
        optional_library(library, "export", "ONNX is written with onnx and onnxscript")
    set_attention(model, ATTENTION["explicit"])
    block_size = model.config.block_size
    tokens = torch.zeros(2, max(2, min(7, block_size)), dtype=torch.int64)
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quietly():
        program = torch.onnx.export(
            model.eval(), (tokens,), dynamo=True, dynamic_shapes=(sizes,),
            input_names=["input_ids"], output_names=["logits"], verbose=False,
        )  # fmt: skip
    size = sum(value.numel() * value.element_size() for value in model.parameters())
    assert program is not None  # it is None for the old exporter's way alone
    program.save(str(path), external_data=size > _LARGEST)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter's progress, and what it says of itself, off the terminal."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def check_onnx(model: GPT2, path: Path, prompt: list[int]) -> str | None:
    """Run the file in onnxruntime where it is installed; return what was compared, None: nothing.

    Raises MiniGPT2Error where logits along our greedy continuation are not ours.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = [torch.zeros(())]
    steps = min(_CHECKED_TOKENS, model.config.block_size - len(prompt) + 1)
    for tokens, ours in _greedily(model, prompt, steps):
        [theirs] = session.run(["logits"], {"input_ids": tokens.numpy()})
        differences.append((ours - torch.from_numpy(theirs)).abs().max())
    worst = torch.stack(differences).max().item()
    if not worst <= TOLERANCE:  # not a number is no agreement either
        raise MiniGPT2Error(
            f"{path}: onnxruntime's logits are {worst:.2g} away from ours, more than {TOLERANCE}; "
            "please report it"
        )
    return f"onnxruntime {onnxruntime.__version__} agrees: logits within {worst:.1g}"
