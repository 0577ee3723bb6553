"""Loss of a model over a whole split, by a protocol that can be stated in a sentence.

The split is cut into windows of `window` targets, `stride` apart (disjoint by default, the short
last one included); every token but the first is scored once, in fp32, and the losses are averaged
over tokens. By document, each is cut into windows of its own, and prompts are not scored. Nothing
is sampled: two calls give the same number. The head is computed only where something is scored, so
that a small stride does not pay for logits it has no use for.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minigpt2.data import TokenStream, batches, bigram_loss, statistics
from minigpt2.data.batches import DocumentRows, Read, Window, restart_at, windows
from minigpt2.errors import DataError, MiniGPT2Error, UsageError
from minigpt2.model import GPT2, LanguageModel, evaluating

T = TypeVar("T")
DAMAGED = "the model's weights are damaged, or diverged in training"
_LOGITS_AT_ONCE = 1 << 19  # elements of one (B, T, V) tensor: what stays in a CPU's caches


@dataclass(frozen=True)
class Scored:
    """Some scored tokens, (N,) each: place in the stream, tokens before it that were seen, loss."""

    places: np.ndarray
    seen: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class PositionLoss:
    """The mean loss of the tokens that had from `least` to `most` tokens of the window before."""

    least: int
    most: int
    tokens: int
    loss: float


@dataclass(frozen=True)
class DocumentLosses:
    """Quantiles of the documents' mean losses; `best` and `worst` are (number, loss), from 0."""

    count: int
    quarter: float
    median: float
    three_quarters: float
    best: tuple[int, float]
    worst: tuple[int, float]


@dataclass(frozen=True)
class Evaluation:
    """A measured loss with the protocol it was measured by.

    `by_position` has the loss by how many tokens of the window stood before; `documents` how it is
    spread over documents, None where there is one text.
    """

    loss: float
    perplexity: float
    bits_per_byte: float | None
    window: int
    stride: int
    tokens: int
    by_position: tuple[PositionLoss, ...] = ()
    documents: DocumentLosses | None = None


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
    bits per byte is None where not every token is scored. Raises DataError where none can be, and
    MiniGPT2Error where the loss is no number.
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
    rows = DocumentRows(stream, window) if by_document else windows(len(stream), window, stride)
    cut = list(rows)
    count = sum(stop - first for _, stop, first in cut)
    if not count:
        raise DataError("there is nothing to score: no document has an answer")
    scored = token_losses(model, stream.read, cut, separator)
    loss, by_position, documents = profile(scored, stream)
    if not math.isfinite(loss):
        raise MiniGPT2Error(f"the loss is {loss}: {DAMAGED}")
    whole = count == len(stream) - 1
    bits = loss * count / math.log(2) / max(1, stream.target_bytes) if whole else None
    protocol = (window, stride, count)
    return Evaluation(loss, perplexity(loss), bits, *protocol, by_position, documents)


def profile(
    parts: Iterable[Scored], stream: TokenStream
) -> tuple[float, tuple[PositionLoss, ...], DocumentLosses | None]:
    """Return the mean loss of all tokens, of those with 1, 2 to 3, 4 to 7, ... before, and so on.

    The last is how the loss is spread over documents. Memory grows with their number alone.
    """
    starts = stream.documents.read(0, len(stream.documents))[0]
    positions = np.zeros((2, 64))  # sums and counts by power of two
    documents, longest = np.zeros((2, len(starts))), 0
    for scored in parts:
        longest = max(longest, int(scored.seen.max(initial=0)))
        _count_in(positions, np.log2(scored.seen).astype(int), scored.losses)
        if len(starts):
            numbers = np.searchsorted(starts, scored.places, side="right") - 1
            _count_in(documents, numbers, scored.losses)
    by_position = tuple(
        PositionLoss(1 << power, min(longest, (2 << power) - 1), int(count), float(total / count))
        for power, (total, count) in enumerate(positions.T)
        if count
    )
    return float(positions[0].sum() / positions[1].sum()), by_position, _over_documents(documents)


def _over_documents(table: np.ndarray) -> DocumentLosses | None:
    """Return how the loss is spread over documents; None where there are not two."""
    scored = np.flatnonzero(table[1])
    if len(scored) < 2:
        return None
    losses = table[0, scored] / table[1, scored]
    quarter, median, three_quarters = np.quantile(losses, (0.25, 0.5, 0.75)).tolist()
    ends = (losses.argmin(), losses.argmax())
    best, worst = ((int(scored[place]), float(losses[place])) for place in ends)
    return DocumentLosses(len(scored), quarter, median, three_quarters, best, worst)


def _count_in(table: np.ndarray, places: np.ndarray, losses: np.ndarray) -> None:
    table[0] += np.bincount(places, losses, minlength=table.shape[1])
    table[1] += np.bincount(places, minlength=table.shape[1])


def mean_loss(
    model: LanguageModel, read: Read, cut: Iterable[Window], separator: int | None = None
) -> float:
    """Return the mean loss in nats a token over the windows `cut` out of what `read` returns.

    A `separator` keeps the documents of a window from seeing one another.
    """
    total, count = 0.0, 0
    for scored in token_losses(model, read, cut, separator):
        total += float(scored.losses.sum())
        count += len(scored.losses)
    return total / count


def token_losses(
    model: LanguageModel, read: Read, cut: Iterable[Window], separator: int | None = None
) -> Iterator[Scored]:
    """Yield the loss of every target of the windows `cut` out of what `read` returns."""
    device, size = next(model.parameters()).device, model.config.vocab_size
    with evaluating(model):
        for batch in batched(cut, lambda window: (window[1] - window[0]) * size, _LOGITS_AT_ONCE):
            tokens, targets = batches.rows_as_batch(read, batch)
            wanted = targets != batches.IGNORED
            borders = {} if separator is None else restart_at(tokens, separator)
            borders = {name: border.to(device) for name, border in borders.items()}
            logits = logits_at(model, tokens.to(device), wanted.to(device), **borders)
            losses = F.cross_entropy(logits, targets[wanted].to(device), reduction="none")
            rows, columns = wanted.nonzero().numpy().T
            starts = np.array([start for start, _, _ in batch])[rows]
            yield Scored(starts + columns + 1, columns + 1, losses.double().cpu().numpy())


def logits_at(model: LanguageModel, tokens: Tensor, wanted: Tensor, **borders: Any) -> Tensor:
    """Return the logits (N, V), in fp32, where `wanted` (B, T) is true of tokens (B, T).

    What reaches GPT-2's head is cut down from outside, so no other logits are computed. `forward`
    is called as it was written: a compiled call would not know of the hook, or never forget it.
    """
    with torch.inference_mode():
        if not isinstance(model, GPT2):
            return model(tokens, **borders)[wanted].float()
        hook = model.ln_f.register_forward_hook(lambda _, __, x: x[wanted])
        try:
            return model.forward(tokens, **borders).float()
        finally:
            hook.remove()


def training_subset(total: int, length: int, like: int) -> Iterator[Window]:
    """Yield windows spread evenly over a training split of `total` tokens, as many as an
    evaluation of `like` tokens has: always the same ones.
    """  # fmt: skip
    available = max(1, (total - 1) // length)
    wanted = min(available, -(-(like - 1) // length))
    for i in range(wanted):
        start = i * available // wanted * length
        yield start, min(start + length + 1, total), start + 1


def evaluation_windows(
    train: TokenStream, val: TokenStream, length: int, by_document: bool
) -> tuple[Iterable[Window], Iterable[Window]]:
    """Return what of the training split, and all that of validation, is scored while training."""
    if not by_document:
        return training_subset(len(train), length, len(val)), windows(len(val), length)
    held_out = DocumentRows(val, length)
    return DocumentRows(train, length).spread(len(held_out)), held_out


def baselines(counted: TokenStream, scored: TokenStream, vocab_size: int) -> dict[str, float]:
    """Return the loss on `scored`, in nats a token, of knowing nothing, and of counting `counted`.

    uniform: every token alike. unigram: how often each occurs. bigram: what follows what. Of long
    streams the beginning counts.
    """
    found = {"uniform": math.log(vocab_size)}
    # Of what is scored the first token is nobody's to predict.
    seen, asked = statistics.head(counted), statistics.head(scored)[1:]
    counts = (np.bincount(ids, minlength=vocab_size) for ids in (seen, asked))
    known = {"unigram": statistics.unigram_loss(*counts)}
    known["bigram"] = bigram_loss(counted, scored, vocab_size)
    return found | {name: loss for name, loss in known.items() if loss is not None}


def perplexity(loss: float) -> float:
    """Return exp(loss), infinite where it overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def batched(items: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Yield the items in batches; padded to its largest item, none is beyond `most` in all.

    >>> list(batched([3, 1, 2, 2], lambda item: item, 6))
    [[3, 1], [2, 2]]
    """
    batch: list[T] = []
    largest = 0
    for item in items:
        largest = max(largest, size(item))
        if batch and (len(batch) + 1) * largest > most:
            yield batch
            batch, largest = [], size(item)
        batch.append(item)
    if batch:
        yield batch
