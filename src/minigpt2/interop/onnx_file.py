"""ONNX out: one file that onnxruntime runs: `input_ids` (B, T) in, `logits` (B, T, V) out.

It knows no tokenizer and no cache: the file is the mathematics of one pass.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from minigpt2.errors import MiniGPT2Error, optional_library
from minigpt2.model import ATTENTION, GPT2, set_attention

TOLERANCE = 1e-4  # of logits, absolute
_CHECKED_TOKENS = 32
_LARGEST = 1_800_000_000  # bytes of weights inside the file: its format ends at 2 GiB


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
    differences, ids = [torch.zeros(())], list(prompt)
    for _ in range(min(_CHECKED_TOKENS, model.config.block_size - len(ids) + 1)):
        tokens = torch.tensor([ids])
        with torch.inference_mode():
            ours = model(tokens)
        [theirs] = session.run(["logits"], {"input_ids": tokens.numpy()})
        differences.append((ours - torch.from_numpy(theirs)).abs().max())
        ids.append(int(ours[0, -1].argmax()))
    worst = torch.stack(differences).max().item()
    if not worst <= TOLERANCE:  # not a number is no agreement either
        raise MiniGPT2Error(
            f"{path}: onnxruntime's logits are {worst:.2g} away from ours, more than {TOLERANCE}; "
            "please report it"
        )
    return f"onnxruntime {onnxruntime.__version__} agrees: logits within {worst:.1g}"
