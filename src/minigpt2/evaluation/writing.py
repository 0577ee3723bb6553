"""How a model writes: how varied, how repetitive, and how much of it is copied from its training.

Text in, numbers out. Words are what stands between white space. distinct-n: Li et al. 2016 (arXiv
1510.03055); repetition: the seq-rep-n of Welleck et al. 2019 (1908.04319).
"""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Copied:
    """The longest span of a text that stands in another one, and the median over several texts."""

    longest: int
    median: float
    text: str


@dataclass(frozen=True)
class Writing:
    """Figures of some samples.

    `held_out` has the copies in as much unseen text: no longer ones are no memorisation.
    """

    samples: int
    characters: int
    distinct_1: float
    distinct_2: float
    distinct_3: float
    seq_rep_4: float
    copied: Copied | None
    held_out: Copied | None


def judge(samples: list[str], training: str | None, held_out: list[str]) -> Writing:
    """Return the figures of `samples`, against the text that was trained on where it is known."""
    words = [sample.split() for sample in samples]
    return Writing(
        samples=len(samples),
        characters=sum(map(len, samples)),
        distinct_1=distinct(words, 1),
        distinct_2=distinct(words, 2),
        distinct_3=distinct(words, 3),
        seq_rep_4=statistics.fmean(1 - distinct([text], 4) for text in words),
        copied=longest_copies(samples, training) if training else None,
        held_out=longest_copies(held_out, training) if training and held_out else None,
    )


def distinct(texts: list[list[str]], n: int) -> float:
    """Return the share of distinct n-grams among all n-grams of the texts; 1 if there are none.

    >>> distinct([["a", "b", "a", "b"]], 2)
    0.6666666666666666
    """
    grams = [tuple(words[i : i + n]) for words in texts for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def longest_copies(texts: list[str], source: str) -> Copied:
    """Return how long the longest spans of the texts are, in characters, that `source` holds."""
    spans = [longest_copy(text, source) for text in texts]
    longest = max(spans, key=len)
    return Copied(len(longest), statistics.median(map(len, spans)), longest)


def longest_copy(text: str, source: str) -> str:
    """Return the longest span of `text` that stands in `source`, the first of equals.

    >>> longest_copy("to be or not", "or not to be, that is")
    'or not'
    """
    start, length = 0, 0
    for end in range(1, len(text) + 1):
        # A span that ends here can be longer by one at most than the longest before.
        if text[max(0, end - length - 1) : end] in source and end > length:
            start, length = end - length - 1, length + 1
    return text[start : start + length]
