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
    """One context, cut alike for all the endings that stand behind it here, each with its place."""

    context: Sequence[int]
    cut: int
    endings: list[tuple[tuple[int, int], Sequence[int]]] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the tokens that are fed: of every ending all but the last."""
        return len(self.context) + sum(len(ending) - 1 for _, ending in self.endings)


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
    rows = sorted(_rows(requests, window or model.config.block_size), key=len)
    found: dict[tuple[int, int], Likelihood] = {}
    done = 0
    with evaluating(model):
        for batch in batched(rows, len, _TOKENS_AT_ONCE):
            found.update(_score(model, batch))
            done += len(batch)
            told(done, len(rows))
    return [[found.get((n, k)) for k in range(len(r.endings))] for n, r in enumerate(requests)]


def _rows(requests: Sequence[Request], window: int) -> list[_Row]:
    found = []
    for number, request in enumerate(requests):
        context, open_rows = request.context, dict[int, _Row]()
        if not context or not all(request.endings):
            raise ValueError(f"request {number}: context and endings need a token each")
        for place, ending in enumerate(request.endings):
            cut = max(0, len(context) + len(ending) - 1 - window)
            if cut >= len(context):
                continue
            if cut not in open_rows or len(open_rows[cut]) + len(ending) - 1 > window:
                open_rows[cut] = _Row(context[cut:], cut)
                found.append(open_rows[cut])
            open_rows[cut].endings.append(((number, place), ending))
    return found


def _score(model: LanguageModel, rows: list[_Row]) -> Iterator[tuple[tuple[int, int], Likelihood]]:
    """Lay the rows into one batch, and read off what each ending's tokens are predicted by."""
    device, T = next(model.parameters()).device, max(map(len, rows))
    tokens, positions, part = torch.zeros(3, len(rows), T, dtype=torch.long)
    ids: list[int] = []
    places: list[int] = []  # in the flattened batch: what predicts each of the ids
    for r, row in enumerate(rows):
        at = c = len(row.context)
        tokens[r, :c], positions[r, :c] = torch.tensor(row.context), torch.arange(c)
        for number, (_, ending) in enumerate(row.endings, 1):
            end = at + len(ending) - 1
            tokens[r, at:end] = torch.tensor(ending[:-1], dtype=torch.long)
            positions[r, at:end] = torch.arange(c, c + end - at)
            part[r, at:end] = number
            ids += ending
            places += [r * T + c - 1, *range(r * T + at, r * T + end)]
            at = end
    wanted = torch.zeros(len(rows) * T, dtype=torch.bool)
    wanted[places] = True
    borders = {}
    if isinstance(model, GPT2) and any(len(row.endings) > 1 for row in rows):
        same = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
        borders = {"positions": positions.to(device), "mask": same.tril()[:, None].to(device)}
    logits = logits_at(model, tokens.to(device), wanted.view(-1, T).to(device), **borders)
    where = (wanted.cumsum(0) - 1)[places].to(device)  # the endings of a row share their first
    ids_N = torch.tensor(ids, device=device)
    logprobs_N = (logits[where, ids_N] - logits.logsumexp(-1)[where]).double().cpu()
    greedy_N = (logits.argmax(-1)[where] == ids_N).cpu()
    endings = [(key, row.cut, len(ending)) for row in rows for key, ending in row.endings]
    sizes = [size for _, _, size in endings]
    parts = zip(endings, logprobs_N.split(sizes), greedy_N.split(sizes), strict=True)
    for (key, cut, size), logprobs, greedy in parts:
        yield key, Likelihood(float(logprobs.sum()), size, bool(greedy.all()), cut)
