"""GGUF out: one file with weights and tokenizer that llama.cpp runs.

Names are llama.cpp's for the architecture gpt2; linear maps are (out, in) there, as in torch.
Matrices take the asked type; norms, biases and positions stay float32, as llama.cpp's own
converter leaves them.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minigpt2 import __version__
from minigpt2.errors import DataError, MiniGPT2Error, UnavailableError
from minigpt2.model import GPT2
from minigpt2.tokenizers import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer
from minigpt2.tokenizers.bytes import byte_symbols
from minigpt2.tokenizers.specials import recognised

# The types it can be written in, and how far logits may be from ours, as a share of their spread.
# llama.cpp looks its GELU up in a half-precision table, so float32 is not closer than that.
TYPES = {"f32": 5e-3, "f16": 1e-2, "bf16": 5e-2, "q8_0": 1e-1}
_PARTS = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_OUTER = {
    "wte.weight": "token_embd.weight",
    "wpe.weight": "position_embd.weight",
    "ln_f.weight": "output_norm.weight",
    "ln_f.bias": "output_norm.bias",
}
# llama.cpp wants at least one merge. These two bytes are in no UTF-8, so it never applies.
_NO_MERGE = (0xFF, 0xFE)
_CHECKED_TOKENS = 32


_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}


def export_gguf(model: GPT2, tokenizer: Tokenizer, path: Path, kind: str) -> list[str]:
    """Write `path` as `kind`, a key of TYPES; return remarks for a person.

    Raises DataError for a tokenizer that GGUF cannot express, UnavailableError without gguf.
    """
    try:
        import gguf
    except ImportError:
        raise UnavailableError(
            'GGUF is written by the library gguf: pip install "minigpt2[export]"'
        ) from None
    pieces = _pieces(tokenizer, model.config.vocab_size)
    writer = gguf.GGUFWriter(path, "gpt2")
    _add_shape(writer, model, path.stem)
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[kind]])
    _add_tokenizer(writer, gguf, pieces, tokenizer)
    remarks = _add_tensors(writer, gguf, model, kind)
    if model.config.activation_function != "gelu_new":
        remarks.append(
            f"the activation {model.config.activation_function} becomes GGUF's tanh-GELU: logits "
            "differ a bit"
        )
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
    others: set[str] = set()
    for name, value in _tensors(model):
        array = value.detach().cpu().float().contiguous().numpy()
        wanted, chosen = _types_of(gguf, kind, name, array)
        if chosen != wanted:
            others.add(chosen.name.lower())
        writer.add_tensor(name, gguf.quants.quantize(array, chosen), raw_dtype=chosen)
    if not others:
        return []
    return [f"rows that are no multiple of {kind}'s 32 numbers stay {', '.join(sorted(others))}"]


def _types_of(gguf: Any, kind: str, name: str, array: np.ndarray) -> tuple[Any, Any]:
    """Return the type one tensor should have and the one it can have."""
    types = gguf.GGMLQuantizationType
    if array.ndim == 1 or name == "position_embd.weight":
        return types.F32, types.F32
    wanted = types[kind.upper()]
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted, wanted if array.shape[1] % block == 0 else types.F16


def _tensors(model: GPT2) -> Iterator[tuple[str, Tensor]]:
    """Yield the model's tensors under llama.cpp's names."""
    for name, value in model.state_dict().items():
        if name in _OUTER:
            yield _OUTER[name], value
            continue
        _, layer, part = name.split(".", 2)
        module, _, kind = part.rpartition(".")
        yield f"blk.{layer}.{_PARTS[module]}.{kind}", value


def _pieces(tokenizer: Tokenizer, vocab_size: int) -> list[str]:
    """Return the text of every id in byte symbols, or say why there is none."""
    symbols = byte_symbols()
    if isinstance(tokenizer, CharTokenizer):
        strange = [letter for letter in tokenizer.characters if ord(letter) > 127]
        if strange:
            shown = " ".join(map(repr, strange[:5]))
            raise DataError(
                f"GGUF has no tokenizer for characters beyond ASCII, and this one has {shown}; "
                "train with --data.tokenizer byte or bpe:N for GGUF"
            )
        pieces = [symbols[ord(letter)] for letter in tokenizer.characters]
    elif isinstance(tokenizer, ByteTokenizer):
        pieces = [symbols[byte] for byte in range(256)]
    elif isinstance(tokenizer, BPETokenizer):
        vocabulary: dict[str, int] = tokenizer.to_json()["model"]["vocab"]
        pieces = [text for text in vocabulary if text not in tokenizer.specials]
    else:
        raise DataError("GGUF is written of characters, bytes and byte-level BPE only")
    pieces += tokenizer.specials
    return pieces + [f"[PAD{number}]" for number in range(len(pieces), vocab_size)]


def _add_tokenizer(writer: Any, gguf: Any, pieces: list[str], tokenizer: Any) -> None:
    symbols, types = byte_symbols(), gguf.TokenType
    specials: dict[str, int] = tokenizer.specials
    merges = tokenizer.to_json()["model"].get("merges") or [
        " ".join(symbols[byte] for byte in _NO_MERGE)
    ]
    kinds = [types.NORMAL] * len(pieces)
    for text, number in specials.items():
        # What is recognised in a text here is so there as well.
        added = text in recognised(specials)
        kinds[number] = types.USER_DEFINED if added else types.CONTROL
    for number in range(tokenizer.vocab_size, len(pieces)):
        kinds[number] = types.UNUSED
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
    try:
        if (theirs := engine.tokenize(text.encode(), add_bos=False)) != tokenizer.encode(text):
            raise MiniGPT2Error(f"{path}: llama.cpp's ids of {text!r} are {theirs}, not ours")
        furthest, equal, count = _walk(model, engine, ids, length)
    finally:
        engine.close()
    if not furthest <= TYPES[kind]:  # not a number is no agreement either
        raise MiniGPT2Error(
            f"{path}: llama.cpp's logits are {furthest:.3f} of their spread away from ours, more "
            f"than {kind} explains ({TYPES[kind]}); please report it"
        )
    return (
        f"llama.cpp {llama_cpp.__version__} agrees: {equal} of {count} greedy tokens equal, logits "
        f"within {furthest:.4f} of their spread"
    )


def _walk(model: GPT2, engine: Any, ids: list[int], length: int) -> tuple[float, int, int]:
    """Return the largest difference of logits along the greedy path, and how often it is theirs."""
    differences, equal = [torch.zeros(())], 0
    while len(ids) < length:
        with torch.inference_mode():
            ours = model(torch.tensor([ids]))[0, -1]
        engine.reset()
        engine.eval(ids)
        theirs = torch.from_numpy(np.array(engine.scores[len(ids) - 1]))[: len(ours)]
        differences.append((ours - theirs).abs().max() / ours.std())
        equal += int(ours.argmax() == theirs.argmax())
        ids = [*ids, int(ours.argmax())]
    return torch.stack(differences).max().item(), equal, len(differences) - 1
