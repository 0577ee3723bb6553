"""Log-likelihoods of endings, given the contexts before them.

The endings of one context stand in one row behind it, each with the positions it would have alone,
and a mask keeps them from seeing one another: the context is read once. Token ids in, numbers out;
it knows no task, text or file.

Where context and ending do not fit the window, the context is cut from the left. An ending that
does not fit with a single token before it has no score.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from minigpt2.evaluation.loss import batched, logits_at
from minigpt2.model import GPT2, LanguageModel, evaluating

_TOKENS_AT_ONCE = 2048  # in one batch of rows: enough to fill two cores


@dataclass(frozen=True)
class Request:
    """A context, of one id at least, and the endings that are to be scored behind it."""

    context: Sequence[int]
    endings: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Likelihood:
    """Of one ending: the sum of its tokens' log-probabilities in nats, and how many they are.

    `greedy`: each of them was the likeliest. `cut`: tokens of the context that were left out.
    """

    logprob: float
    tokens: int
    greedy: bool
    cut: int


@dataclass
class _Row:
    """One context, cut alike for all the endings that stand behind it here."""

    context: Sequence[int]
    cut: int
    endings: list[tuple[tuple[int, int], Sequence[int]]] = field(default_factory=list)
    length: int = 0

    def add(self, key: tuple[int, int], ending: Sequence[int]) -> None:
        self.length = (self.length or len(self.context)) + len(ending) - 1
        self.endings.append((key, ending))


def likelihoods(
    model: LanguageModel,
    requests: Sequence[Request],
    told: Callable[[int, int], None] = lambda done, total: None,
    window: int | None = None,
) -> list[list[Likelihood | None]]:
    """Return the likelihood of every ending of every request; None: longer than the window.

    The window is the model's block_size, or less where it was trained with shorter sequences.
    `told` hears how many rows of how many are done. Raises ValueError for an empty context or
    ending.
    """
    found: list[list[Likelihood | None]] = [[None] * len(r.endings) for r in requests]
    rows = sorted(_rows(requests, window or model.config.block_size), key=lambda row: row.length)
    done = 0
    with evaluating(model):
        for batch in batched(rows, lambda row: row.length, _TOKENS_AT_ONCE):
            for (request, ending), likelihood in _score(model, batch):
                found[request][ending] = likelihood
            done += len(batch)
            told(done, len(rows))
    return found


def _rows(requests: Sequence[Request], window: int) -> Iterator[_Row]:
    for number, request in enumerate(requests):
        if not request.context or not all(request.endings):
            raise ValueError(f"request {number}: context and endings need a token each")
        rows: dict[int, _Row] = {}
        for place, ending in enumerate(request.endings):
            cut = max(0, len(request.context) + len(ending) - 1 - window)
            if cut >= len(request.context):
                continue
            row = rows.get(cut)
            if row is None or row.length + len(ending) - 1 > window:
                if row is not None:
                    yield row
                row = rows[cut] = _Row(request.context[cut:], cut)
            row.add((number, place), ending)
        yield from rows.values()


def _score(model: LanguageModel, rows: list[_Row]) -> Iterator[tuple[tuple[int, int], Likelihood]]:
    device = next(model.parameters()).device
    T = max(row.length for row in rows)
    tokens, positions, part = (torch.zeros(len(rows), T, dtype=torch.long) for _ in range(3))
    wanted = torch.zeros(len(rows), T, dtype=torch.bool)
    for r, row in enumerate(rows):
        c = len(row.context)
        tokens[r, :c], positions[r, :c] = torch.tensor(row.context), torch.arange(c)
        wanted[r, c - 1] = True  # the first token of every ending is predicted here
        at = c
        for number, (_, ending) in enumerate(row.endings, 1):
            end = at + len(ending) - 1
            tokens[r, at:end] = torch.tensor(ending[:-1], dtype=torch.long)
            positions[r, at:end] = torch.arange(c, c + end - at)
            part[r, at:end], wanted[r, at:end] = number, True
            at = end
    same = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    borders = {}
    if isinstance(model, GPT2) and any(len(row.endings) > 1 for row in rows):
        borders = {"positions": positions.to(device), "mask": same.tril()[:, None].to(device)}
    logits = logits_at(model, tokens.to(device), wanted.to(device), **borders)
    yield from _read_off(logits, rows)


def _read_off(logits: Tensor, rows: list[_Row]) -> Iterator[tuple[tuple[int, int], Likelihood]]:
    """Read the endings off logits (N, V), which stand in the order of rows and places."""
    places, ids, at = [], [], 0
    for row in rows:
        first, at = at, at + 1
        for _, ending in row.endings:
            places += [first, *range(at, at + len(ending) - 1)]
            ids += ending
            at += len(ending) - 1
    places_N, ids_N = (torch.tensor(part, device=logits.device) for part in (places, ids))
    logprobs_N = logits[places_N, ids_N] - logits.logsumexp(-1)[places_N]
    greedy_N = logits.argmax(-1)[places_N] == ids_N
    endings = [(row, key, ending) for row in rows for key, ending in row.endings]
    sizes = [len(ending) for _, _, ending in endings]
    parts = zip(logprobs_N.double().cpu().split(sizes), greedy_N.cpu().split(sizes), strict=True)
    for (row, key, ending), (logprobs, greedy) in zip(endings, parts, strict=True):
        yield key, Likelihood(float(logprobs.sum()), len(ending), bool(greedy.all()), row.cut)
