"""The one generation engine: token ids in, events out.

It knows no text, tokenizer, file or thread. Requests wait in a queue; between any two tokens rows
join (their prompt is read, all but its last token) and leave; one step reads the last token of
every row in one pass and draws the next of each. A row draws from its own generator, so what it
becomes does not depend on who else is there.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from minigpt2.errors import MiniGPT2Error, UsageError
from minigpt2.generation.logits import adjust_logits, adjusts, choose
from minigpt2.generation.runner import CachedRunner, Rereader, Runner
from minigpt2.model import GPT2, LanguageModel
from minigpt2.sampling import Sampling

# Prompt tokens after which no further row joins before the next step: who is writing waits.
_JOINING_TOKENS = 512


@dataclass(frozen=True)
class Request:
    """A prompt to continue `n` times; a token of `stop_ids` ends a sample and is its last.

    With `score` the prompt's own tokens are told first, with their log-probabilities.
    """

    ids: list[int]
    sampling: Sampling
    n: int = 1
    stop_ids: tuple[int, ...] = ()
    score: bool = False


Top = tuple[tuple[int, float], ...]  # (id, log-probability), the likeliest first


@dataclass(frozen=True)
class Token:
    """One more token of a sample; log-probabilities in nats, of the model alone, if asked for."""

    request: int
    sample: int
    id: int
    logprob: float | None = None
    top: Top = ()


@dataclass(frozen=True)
class Scored:
    """A prompt's tokens from the second on, each given those before it."""

    request: int
    tokens: list[Token]


@dataclass(frozen=True)
class Ended:
    """A sample's end: `stop` (a stop token), `length`, or `cancelled`.

    `cut` is how many tokens of the prompt were left out, `slides` how often the window slid.
    """

    request: int
    sample: int
    reason: str
    cut: int
    slides: int


Event = Token | Scored | Ended


@dataclass
class _Row:
    """A sample that waits or is being written."""

    number: int
    sample: int
    request: Request
    ids: list[int]  # of the prompt, as much of it as is read, and of what was written
    begun: int  # where that begins
    generator: torch.Generator
    distinct: list[int]  # the ids of the prompt, for penalties
    slides: int = 0


class Engine:
    """Writes up to `slots` samples at once; others wait.

    `size` is the window in tokens (None: the model's own), `vocab_size` how many ids may be chosen
    (None: all of the model's). The model is used as it is: set its mode and precision before.
    """

    def __init__(
        self, model: LanguageModel, slots: int = 1, vocab_size: int | None = None,
        size: int | None = None,
    ) -> None:  # fmt: skip
        self.size = min(size or model.config.block_size, model.config.block_size)
        self.vocab_size = vocab_size or model.config.vocab_size
        if slots < 1 or self.vocab_size > model.config.vocab_size:
            raise UsageError("an engine has a slot or more, and no ids that its model has not")
        self.slots = slots
        self._runner: Runner = (
            CachedRunner(model, slots, self.size) if isinstance(model, GPT2) else
            Rereader(model, slots)
        )  # fmt: skip
        self._waiting: deque[_Row] = deque()
        self._rows: list[_Row] = []  # row i reads and writes slot i
        self._numbers = count()

    @property
    def busy(self) -> bool:
        """Say whether anything is left to do."""
        return bool(self._waiting or self._rows)

    def submit(self, request: Request) -> int:
        """Queue a request and return its number, by which events name it.

        Raises UsageError for ids the model does not have, and for a prompt or a length that does
        not fit where the request's overflow policy says so.
        """
        prompt = self._fit(request)
        number, distinct = next(self._numbers), list(set(prompt))
        for sample in range(request.n):
            seed = request.sampling.with_seed(request.sampling.seed + sample).seed
            generator = torch.Generator().manual_seed(seed)
            row = _Row(number, sample, request, [*prompt], len(prompt), generator, distinct)
            self._waiting.append(row)
        return number

    def cancel(self, number: int, sample: int | None = None) -> list[Ended]:
        """End a request, or one of its samples, now: it takes part in no further step.

        Returns how those that were being written ended.
        """

        def meant(row: _Row) -> bool:
            return row.number == number and sample in (None, row.sample)

        self._waiting = deque(row for row in self._waiting if not meant(row))
        slots = [slot for slot, row in enumerate(self._rows) if meant(row)]
        return [self._leave(slot, "cancelled") for slot in reversed(slots)]

    def run(self) -> Iterator[Event]:
        """Take steps until nothing is left to do; whoever listens may submit and cancel."""
        while self.busy:
            yield from self.step()

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Let waiting rows join, read one token of each row, draw the next."""
        events: list[Event] = list(self._join())
        if self._rows:
            self._make_room()
            logits_BV = self._runner.decode([row.ids[-1] for row in self._rows])
            if logits_BV.device.type == "mps":  # which has no doubles to draw with
                logits_BV = logits_BV.cpu()
            events += self._take(logits_BV[:, : self.vocab_size].float())
        return events

    def _fit(self, request: Request) -> list[int]:
        """Return as much of the prompt as the request's policy has read."""
        ids, sampling = request.ids, request.sampling
        _check_ids(request, self.vocab_size)
        new = sampling.max_new_tokens
        if len(ids) + new <= self.size:
            return ids
        if sampling.overflow == "error" or request.score:
            raise UsageError(
                f"{len(ids)} prompt tokens and {new} new ones exceed the window of {self.size}"
            )
        if sampling.overflow == "truncate-left":
            # Who asks for more than the window holds gets half of it for the prompt.
            return ids[-(self.size - (new if new < self.size else self.size // 2)) :]
        if sampling.n_keep >= self.size - self.size // 2:
            raise UsageError(
                f"n-keep {sampling.n_keep} leaves no room in a window of {self.size}: at most "
                f"{self.size - self.size // 2 - 1}"
            )
        return ids

    def _join(self) -> Iterator[Event]:
        """Give waiting rows a slot each; their prompts are read, but for the last token."""
        budget = _JOINING_TOKENS
        while self._waiting and len(self._rows) < self.slots and budget > 0:
            row = self._waiting[0]
            slot, window = len(self._rows), row.ids
            budget -= len(window)
            if row.request.score and row.sample == 0:
                yield Scored(row.number, self._score(row, slot))
            if row.request.sampling.max_new_tokens == 0:
                yield self._ended(self._waiting.popleft(), "length")
                continue
            if len(window) > self.size:
                window, row.slides = self._kept(row), 1
            self._runner.prefill(slot, window[:-1])
            self._rows.append(self._waiting.popleft())  # an error on the way leaves it waiting

    def _score(self, row: _Row, slot: int) -> list[Token]:
        """Return the prompt's tokens from the second on, with their log-probabilities."""
        tokens: list[Token] = []
        for logits_TV in self._runner.score(slot, row.ids[:-1]):
            ids = row.ids[len(tokens) + 1 :][: len(logits_TV)]
            told = _logprobs(logits_TV[:, : self.vocab_size].float(), ids, row.request.sampling)
            tokens += [Token(row.number, 0, i, *known) for i, known in zip(ids, told, strict=True)]
        return tokens

    def _make_room(self) -> None:
        """Slide rows whose window is full: what is kept is read anew, once."""
        for slot, row in enumerate(self._rows):
            if len(self._runner.read[slot]) == self.size:
                row.slides += 1
                self._runner.prefill(slot, self._kept(row)[:-1])

    def _kept(self, row: _Row) -> list[int]:
        """Return the part of a row that stays in sight: n_keep tokens and the last half window."""
        return row.ids[: row.request.sampling.n_keep] + row.ids[-max(1, self.size // 2) :]

    def _take(self, logits_BV: Tensor) -> Iterator[Token | Ended]:
        """Draw every row's next token; rows that are done leave."""
        if not logits_BV.isfinite().all():
            raise MiniGPT2Error("the model's logits are not numbers; its weights are damaged")
        adjusted_BV = self._adjusted(logits_BV)
        samplings = [row.request.sampling for row in self._rows]
        ids = choose(adjusted_BV, samplings, [row.generator for row in self._rows])
        for slot, (row, token_id) in enumerate(zip(self._rows, ids, strict=True)):
            row.ids.append(token_id)
            known: tuple[float | None, Top] = (None, ())
            if row.request.sampling.logprobs is not None:
                known = _logprobs(logits_BV[slot, None], [token_id], row.request.sampling)[0]
            yield Token(row.number, row.sample, token_id, *known)
        for slot in reversed(range(len(self._rows))):
            if reason := self._over(self._rows[slot]):
                yield self._leave(slot, reason)

    def _adjusted(self, logits_BV: Tensor) -> Tensor:
        """Return the logits with the changes that each row asks for."""
        rows = [slot for slot, row in enumerate(self._rows) if adjusts(row.request.sampling)]
        adjusted_BV = logits_BV.clone() if rows else logits_BV
        for slot in rows:
            row = self._rows[slot]
            adjusted_BV[slot] = adjust_logits(
                logits_BV[slot], row.request.sampling, row.distinct, row.ids[row.begun :],
                row.request.stop_ids,
            )  # fmt: skip
        return adjusted_BV

    def _over(self, row: _Row) -> str | None:
        """Return why a row is at its end, or None."""
        request, written = row.request, len(row.ids) - row.begun
        if row.ids[-1] in request.stop_ids:
            return "stop"
        cut_off = len(row.ids) >= self.size and request.sampling.overflow != "slide"
        return "length" if cut_off or written >= request.sampling.max_new_tokens else None

    def _ended(self, row: _Row, reason: str) -> Ended:
        return Ended(row.number, row.sample, reason, len(row.request.ids) - row.begun, row.slides)

    def _leave(self, slot: int, reason: str) -> Ended:
        """Free a slot; the last row takes it, so that rows stay side by side."""
        ended, last = self._ended(self._rows[slot], reason), self._rows.pop()
        if slot < len(self._rows):
            self._rows[slot] = last
            self._runner.prefill(slot, self._runner.read[len(self._rows)])  # copied, not read
        return ended


def _logprobs(logits_TV: Tensor, ids: list[int], sampling: Sampling) -> list[tuple[float, Top]]:
    """Return the log-probabilities of `ids`, one a row, each beside the likeliest of its row."""
    logprobs_TV = logits_TV.log_softmax(dim=1)
    chosen = logprobs_TV.gather(1, torch.tensor(ids, device=logits_TV.device)[:, None])[:, 0]
    values, places = logprobs_TV.topk(min(sampling.logprobs or 0, logprobs_TV.shape[1]))
    tops = [
        tuple(zip(*row, strict=True)) for row in zip(places.tolist(), values.tolist(), strict=True)
    ]
    return list(zip(chosen.tolist(), tops, strict=True))


def _check_ids(request: Request, vocab_size: int) -> None:
    """Raise UsageError for an empty prompt, ids that do not exist, or a ban on everything."""
    sampling = request.sampling
    if not request.ids:
        raise UsageError("the prompt has no tokens; begin with the end-of-text token or a newline")
    if request.n < 1:
        raise UsageError(f"n must be at least 1, not {request.n}")
    biased = [token_id for token_id, _ in sampling.logit_bias]
    for what, ids in (
        ("prompt", request.ids),
        ("logit-bias", biased),
        ("banned-ids", sampling.banned_ids),
        ("stop_ids", request.stop_ids),
    ):
        for token_id in ids:
            if not 0 <= token_id < vocab_size:
                raise UsageError(
                    f"{what}: there is no token {token_id}; the model's are 0 to {vocab_size - 1}"
                )
    if len({*sampling.banned_ids, *request.stop_ids}) >= vocab_size:
        raise UsageError("banned-ids leave no token to choose")
