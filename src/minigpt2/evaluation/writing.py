"""How a model writes: how varied, how repetitive, and how much of it is copied from its training.

Text in, numbers out. Words are what stands between white space. distinct-n: Li et al. 2016 (arXiv
1510.03055); repetition: the seq-rep-n of Welleck et al. 2019 (1908.04319).
"""

import statistics
from typing import Any


def judge(samples: list[str], training: str | None, held_out: list[str]) -> dict[str, Any]:
    """Return the figures of `samples`, against the text that was trained on where it is known.

    Under `held_out` are the copies in as much unseen text: no longer ones are no memorisation.
    """
    words = [sample.split() for sample in samples]
    return {
        "samples": len(samples),
        "characters": sum(map(len, samples)),
        **{f"distinct_{n}": distinct(words, n) for n in (1, 2, 3)},
        "seq_rep_4": statistics.fmean(1 - distinct([text], 4) for text in words),
        "copied": longest_copies(samples, training) if training else None,
        "held_out": longest_copies(held_out, training) if training and held_out else None,
    }


def distinct(texts: list[list[str]], n: int) -> float:
    """Return the share of distinct n-grams among all n-grams of the texts; 1 if there are none.

    >>> distinct([["a", "b", "a", "b"]], 2)
    0.6666666666666666
    """
    grams = [tuple(words[i : i + n]) for words in texts for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def longest_copies(texts: list[str], source: str) -> dict[str, Any]:
    """Return how long the longest spans of the texts are, in characters, that `source` holds.

    `longest` of all, the `median` of the texts, and the longest one's `text`.
    """
    spans = [longest_copy(text, source) for text in texts]
    longest = max(spans, key=len)
    median = statistics.median(map(len, spans))
    return {"longest": len(longest), "median": median, "text": longest}


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
