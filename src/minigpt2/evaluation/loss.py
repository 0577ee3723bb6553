"""Loss of a model over a whole split, by a protocol that can be stated in a sentence.

The split is cut into windows of `window` targets, `stride` apart (disjoint by default, the short
last one included); every token but the first is scored once, in fp32, and the losses are averaged
over tokens. Nothing is sampled: two calls give the same number.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from minigpt2.data import TokenStream, windows
from minigpt2.data.batches import IGNORED, collate
from minigpt2.errors import DataError, UsageError
from minigpt2.model import LanguageModel

Window = tuple[int, int, int]
_LOGITS_AT_ONCE = 1 << 19  # elements of one (B, T, V) tensor: what stays in a CPU's caches


@dataclass(frozen=True)
class Evaluation:
    """A measured loss with the protocol it was measured by."""

    loss: float
    perplexity: float
    bits_per_byte: float
    window: int
    stride: int
    tokens: int


def evaluate(
    model: LanguageModel, stream: TokenStream, window: int | None = None, stride: int | None = None
) -> Evaluation:
    """Measure `model` over all of `stream`; window defaults to block_size, stride to window.

    Loss in nats a token. Raises DataError where nothing can be scored.
    """
    block_size: int = model.config.block_size
    window = block_size if window is None else window
    stride = window if stride is None else stride
    if not 1 <= window <= block_size:
        raise UsageError(f"window must be from 1 to the model's block_size {block_size}")
    if not 1 <= stride <= window:
        raise UsageError(f"stride must be from 1 to the window {window}, not {stride}")
    if len(stream) < 2:
        raise DataError(f"{len(stream)} tokens are too few to score: at least 2 are needed")
    loss = mean_loss(model, stream, windows(len(stream), window, stride))
    bits = loss * (len(stream) - 1) / math.log(2) / max(1, stream.target_bytes)
    return Evaluation(loss, perplexity(loss), bits, window, stride, len(stream) - 1)


def mean_loss(model: LanguageModel, stream: TokenStream, cut: Iterable[Window]) -> float:
    """Return the mean loss in nats a token over the windows `cut` out of `stream`."""
    device = next(model.parameters()).device
    vocab_size: int = model.config.vocab_size
    total, count = 0.0, 0
    was_training = model.training
    model.eval()
    try:
        for batch in _batched(cut, vocab_size):
            length = max(stop - start for start, stop, _ in batch) - 1
            rows = [stream.read(start, stop) for start, stop, _ in batch]
            tokens, targets = (tensor.to(device) for tensor in collate(rows, length))
            for row, (start, _, first) in enumerate(batch):
                targets[row, : first - start - 1] = IGNORED
            with torch.inference_mode():
                logits = model(tokens).flatten(0, 1).float()
                total += F.cross_entropy(logits, targets.flatten(), reduction="sum").item()
            count += int((targets != IGNORED).sum())
    finally:
        model.train(was_training)
    return total / count


def training_subset(total: int, length: int, like: int) -> Iterator[Window]:
    """Yield windows spread evenly over a training split of `total` tokens, as many as an
    evaluation of `like` tokens has: always the same ones.
    """  # fmt: skip
    wanted = -(-(like - 1) // length)
    available = max(1, (total - 1) // length)
    for i in range(min(wanted, available)):
        start = i * available // min(wanted, available) * length
        yield start, min(start + length + 1, total), start + 1


def perplexity(loss: float) -> float:
    """Return exp(loss), infinite where it overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def _batched(cut: Iterable[Window], vocab_size: int) -> Iterator[list[Window]]:
    batch: list[Window] = []
    elements = 0
    for window in cut:
        size = (window[1] - window[0]) * vocab_size
        if batch and elements + size > _LOGITS_AT_ONCE:
            yield batch
            batch, elements = [], 0
        batch.append(window)
        elements += size
    if batch:
        yield batch
