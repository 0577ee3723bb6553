"""WikiText-2 and -103 (Merity et al. 2016, arXiv 1609.07843), by the two protocols in use.

A token's perplexity: the raw test text as one stream, in windows without overlap. A word's: each
article by itself, its layout turned back into plain text, the loss divided by the words of the
original, as lm-evaluation-harness has it.
"""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from minigpt2.data.batches import windows
from minigpt2.data.rows import rows_of, text_of
from minigpt2.data.sources import read_text
from minigpt2.evaluation.loss import mean_loss, perplexity
from minigpt2.generation.text import start_id
from minigpt2.model import LanguageModel
from minigpt2.tokenizers import Tokenizer
from minigpt2.tokenizers.protocol import encode_array

# A blank that WikiText put beside a sign, and what stood there before, in this order.
_BLANKS = [
    ("s '", "s'"), (" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."),
    *((f" {sign} ", f"{sign} ") for sign in ":;.!?,"),
]  # fmt: skip
_PAIRS = ("()", "[]", "{}", '""', "''")
_LAYOUT = [
    ("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" ° ", "°"),
    (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s"),
]  # fmt: skip


def wikitext(path: Path) -> str:
    """Return the text of a file: plain, or the rows of a published parquet or JSON lines file."""
    if path.suffix in (".parquet", ".jsonl"):
        # Published rows are lines of the raw file; its blank ones, " \n", became empty texts.
        return "".join(text_of(row, "text", place) or " \n" for row, place in rows_of(path))
    return read_text(str(path))


def articles(text: str) -> list[str]:
    """Return the articles: each begins with a line " = Title = "; blanks before the first go."""
    titles = re.finditer(r"^ = [^=].*[^=] = $", text, re.MULTILINE)
    borders = [0, *(title.start() for title in titles), len(text)]
    return [text[start:end] for start, end in pairwise(borders) if text[start:end].strip()]


def plain(article: str) -> str:
    """Return an article as it was before WikiText parted its words and signs.

    >>> plain("a well @-@ known ( big ) one , of 1 @,@ 000 .\\n")
    'a well-known (big) one, of 1,000 .\\n'
    """
    for found, meant in _BLANKS:
        article = article.replace(found, meant)
    for left, right in _PAIRS:
        inside = rf"{re.escape(left)}\s*([^{re.escape(right)}]*?)\s*{re.escape(right)}"
        article = re.sub(inside, rf"{left}\1{right}", article)
    for found, meant in _LAYOUT:
        article = article.replace(found, meant)
    return article


def word_perplexity(
    model: LanguageModel, tokenizer: Tokenizer, text: str, window: int
) -> tuple[float, int]:
    """Return the perplexity a word, and the number of words.

    Each article is read from an empty context, in disjoint windows. Raises DataError.
    """
    total, words = 0.0, 0
    for article in articles(text):
        ids = np.append(start_id(tokenizer), encode_array(tokenizer, plain(article)))
        loss = mean_loss(model, _Ids(ids), windows(len(ids), window))
        total += loss * (len(ids) - 1)
        words += len(re.split(r"\s+", article))
    return perplexity(total / words), words


class _Ids:
    """Ids in memory, read as a stream."""

    def __init__(self, ids: np.ndarray) -> None:
        self._ids = ids

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._ids[start:stop]
