"""How text is to be generated: every setting, checked; shared by all faces and the engine.

Definitions and their order are those of `transformers`; presence and frequency penalties, and
bias, are those of OpenAI's API.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from minigpt2.errors import UsageError

Overflow = Literal["slide", "truncate-left", "error"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and when to stop.

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
        for name, (least, most, what) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:  # NaN is in no range
                raise UsageError(f"{name.replace('_', '-')} must be {what}, not {value}")
        if self.min_new_tokens > self.max_new_tokens:
            raise UsageError(
                f"min-new-tokens {self.min_new_tokens} is more than max-new-tokens "
                f"{self.max_new_tokens}"
            )
        for token_id, bias in self.logit_bias:
            if not math.isfinite(bias):
                raise UsageError(f"logit-bias of token {token_id} must be a number, not {bias}")
        if "" in self.stop:
            raise UsageError("a stop string must not be empty")

    def with_seed(self, seed: int) -> "Sampling":
        """Return the same settings with another seed."""
        return replace(self, seed=seed % (_LARGEST_SEED + 1))

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a sample."""
        return (*self.stop, *(("\n",) if self.stop_at_newline else ()))


_LARGEST = 1e300  # beyond it temperatures and penalties are as good as infinite
_SMALLEST = 5e-324  # what "above 0" means of a float
_LARGEST_SEED = (1 << 63) - 1  # what torch's generators take
_RANGES = {
    "max_new_tokens": (0, math.inf, "0 or more"),
    "min_new_tokens": (0, math.inf, "0 or more"),
    "temperature": (0, _LARGEST, "0 or more"),
    "top_k": (1, math.inf, "at least 1"),
    "top_p": (_SMALLEST, 1, "above 0 and at most 1"),
    "min_p": (0, 1, "from 0 to 1"),
    "repetition_penalty": (_SMALLEST, _LARGEST, "above 0"),
    "presence_penalty": (-100, 100, "from -100 to 100"),
    "frequency_penalty": (-100, 100, "from -100 to 100"),
    "seed": (0, _LARGEST_SEED, "from 0 to 2^63 - 1"),
    "n_keep": (0, math.inf, "0 or more"),
    "logprobs": (0, 1000, "from 0 to 1000"),
}
