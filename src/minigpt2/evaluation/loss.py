"""Loss of a model over a whole split, by a protocol that can be stated in a sentence.

The split is cut into windows of `window` targets, `stride` apart (disjoint by default, the short
last one included); every token but the first is scored once, in fp32, and the losses are averaged
over tokens. By document, each is cut into windows of its own, and prompts are not scored. Nothing
is sampled: two calls give the same number.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from minigpt2.data import DocumentRows, TokenStream, restart_at, windows
from minigpt2.data.batches import IGNORED
from minigpt2.data.documents import rows_as_batch
from minigpt2.errors import DataError, UsageError
from minigpt2.model import LanguageModel

Window = tuple[int, int, int]
_LOGITS_AT_ONCE = 1 << 19  # elements of one (B, T, V) tensor: what stays in a CPU's caches


@dataclass(frozen=True)
class Evaluation:
    """A measured loss with the protocol it was measured by."""

    loss: float
    perplexity: float
    bits_per_byte: float | None
    window: int
    stride: int
    tokens: int


def evaluate(
    model: LanguageModel,
    stream: TokenStream,
    window: int | None = None,
    stride: int | None = None,
    by_document: bool = False,
    separator: int | None = None,
) -> Evaluation:
    """Measure `model` over all of `stream`; window defaults to block_size, stride to window.

    `by_document` makes each document a row of its own, cut at the window, and leaves prompts
    unscored. A `separator` keeps packed documents from seeing one another. Loss in nats a token;
    bits per byte is None where not every token is scored. Raises DataError where none can be.
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
    if by_document and stride != window:
        raise UsageError("documents are scored in disjoint windows; leave --stride out")
    packed = windows(len(stream), window, stride)
    cut = list(DocumentRows(stream, window) if by_document else packed)
    count = sum(stop - first for _, stop, first in cut)
    if not count:
        raise DataError("there is nothing to score: no document has an answer")
    loss = mean_loss(model, stream, cut, separator)
    whole = count == len(stream) - 1
    bits = loss * count / math.log(2) / max(1, stream.target_bytes) if whole else None
    return Evaluation(loss, perplexity(loss), bits, window, stride, count)


def mean_loss(
    model: LanguageModel,
    stream: TokenStream,
    cut: Iterable[Window],
    separator: int | None = None,
) -> float:
    """Return the mean loss in nats a token over the windows `cut` out of `stream`.

    A `separator` keeps the documents of a window from seeing one another.
    """
    device = next(model.parameters()).device
    vocab_size: int = model.config.vocab_size
    total, count = 0.0, 0
    was_training = model.training
    model.eval()
    try:
        for batch in _batched(cut, vocab_size):
            tokens, targets = (tensor.to(device) for tensor in rows_as_batch(stream, batch))
            borders = {} if separator is None else restart_at(tokens, separator)
            with torch.inference_mode():
                logits = model(tokens, **borders).flatten(0, 1).float()
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


def evaluation_windows(
    train: TokenStream, val: TokenStream, length: int, by_document: bool
) -> tuple[Iterable[Window], Iterable[Window]]:
    """Return what of the training split, and all that of validation, is scored while training."""
    if not by_document:
        return training_subset(len(train), length, len(val)), windows(len(val), length)
    held_out = DocumentRows(val, length)
    return DocumentRows(train, length).spread(len(held_out)), held_out


def perplexity(loss: float) -> float:
    """Return exp(loss), infinite where it overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def _batched(cut: Iterable[Window], vocab_size: int) -> Iterator[list[Window]]:
    batch: list[Window] = []
    longest = 0
    for window in cut:
        longest = max(longest, window[1] - window[0])  # the others are padded to it
        if batch and (len(batch) + 1) * longest * vocab_size > _LOGITS_AT_ONCE:
            yield batch
            batch, longest = [], window[1] - window[0]
        batch.append(window)
    if batch:
        yield batch
