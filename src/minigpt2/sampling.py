"""How text is to be generated: every setting, checked; shared by all faces and the engine.

Definitions and their order are those of `transformers`; presence and frequency penalties, and
bias, are those of OpenAI's API.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from minigpt2.errors import UsageError

Overflow = Literal["slide", "truncate-left", "error"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and when to stop; raises UsageError for what cannot be meant.

    Parameters
    ----------
    max_new_tokens
        Length of a sample.
    temperature
        0 takes the likeliest token, 1 the model's own distribution.
    top_k
        Choose among the k likeliest tokens only.
    top_p
        Choose among the likeliest tokens of this total probability only.
    min_p
        Leave out tokens less likely than this share of the likeliest.
    typical_p
        Choose among the tokens about as surprising as expected, of this total probability.
    repetition_penalty
        Above 1 makes tokens that occurred, in the prompt too, less likely.
    presence_penalty
        Taken from the logit of every token that was generated already.
    frequency_penalty
        Taken as often as the token was generated.
    logit_bias
        A token's id and what is added to its logit; may be given several times.
    banned_ids
        A token that is never chosen; may be given several times.
    min_new_tokens
        Before so many tokens no end of text is chosen.
    stop
        Text that ends a sample; may be given several times.
    stop_at_newline
        End a sample at the first line end.
    ignore_eos
        Go on behind the end of a text.
    seed
        The same seed gives the same text; sample i of several takes seed + i.
    overflow
        When the window is full: slide on, or cut the prompt from the left, or refuse.
    n_keep
        So many tokens of the prompt stay in sight when the window slides.
    logprobs
        Tell the log-probabilities of so many likeliest tokens, and of the one chosen.
    """

    max_new_tokens: int = 500
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    banned_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_at_newline: bool = False
    ignore_eos: bool = False
    seed: int = 1337
    overflow: Overflow = "slide"
    n_keep: int = 0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, (kind, least, most, what) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if type(value) not in (int, kind) or not least <= value <= most:  # NaN: in no range
                raise UsageError(f"{name.replace('_', '-')} must be {what}, not {value!r}")
        if self.overflow not in get_args(Overflow):
            raise UsageError(f"overflow must be {', '.join(get_args(Overflow))}")
        if not all(type(token_id) is int for token_id in self.banned_ids):
            raise UsageError("banned-ids must be ids of tokens")
        if self.min_new_tokens > self.max_new_tokens:
            raise UsageError(
                f"min-new-tokens {self.min_new_tokens} is more than max-new-tokens "
                f"{self.max_new_tokens}"
            )
        for pair in self.logit_bias:
            kinds = tuple(map(type, pair)) if isinstance(pair, tuple) else ()
            if kinds not in ((int, int), (int, float)) or not -_HOT <= pair[1] <= _HOT:
                raise UsageError(
                    f"logit-bias must be an id and a number from -{_HOT:g} to {_HOT:g}, not {pair}"
                )
        if not all(isinstance(text, str) and text for text in self.stop):
            raise UsageError("a stop string must be a text, and not empty")

    def with_seed(self, seed: int) -> "Sampling":
        """Return the same settings with another seed."""
        return replace(self, seed=seed % (_LARGEST_SEED + 1))

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a sample."""
        return (*self.stop, *(("\n",) if self.stop_at_newline else ()))


_HOT = 1e4  # a factor or a summand that decides everything; twice as much would tell no more
_LARGEST_SEED = (1 << 63) - 1  # what torch's generators take
_OPTIONAL = ("top_k", "top_p", "min_p", "typical_p", "logprobs")
_RANGES = {
    "max_new_tokens": (int, 0, math.inf, "0 or more"),
    "min_new_tokens": (int, 0, math.inf, "0 or more"),
    "temperature": (float, 0, _HOT, f"from 0 to {_HOT:g}"),
    "top_k": (int, 1, math.inf, "at least 1"),
    "top_p": (float, 1e-9, 1, "above 0 and at most 1"),
    "min_p": (float, 0, 1, "from 0 to 1"),
    "typical_p": (float, 1e-9, 1, "above 0 and at most 1"),
    "repetition_penalty": (float, 1 / _HOT, _HOT, f"from {1 / _HOT:g} to {_HOT:g}"),
    "presence_penalty": (float, -100, 100, "from -100 to 100"),
    "frequency_penalty": (float, -100, 100, "from -100 to 100"),
    "seed": (int, 0, _LARGEST_SEED, "from 0 to 2^63 - 1"),
    "n_keep": (int, 0, math.inf, "0 or more"),
    "logprobs": (int, 0, 1000, "from 0 to 1000"),
}
