"""LAMBADA, HellaSwag and WikiText, by the protocols that published numbers were measured by.

LAMBADA (Paperno et al. 2016, arXiv 1606.06031, in OpenAI's version): predict a passage's last word;
right if each of its tokens is the likeliest. HellaSwag (Zellers et al. 2019, arXiv 1905.07830): of
four endings choose the likeliest, by its sum or by a mean. WikiText-2 and -103 (Merity et al. 2016,
arXiv 1609.07843) have two: a token's perplexity, of the raw test text as one stream in windows
without overlap; and a word's, each article by itself, its layout turned back into plain text, the
loss divided by the words of the original, as lm-evaluation-harness has it. Files are read in the
form in which the sets are published: JSON lines or parquet, LAMBADA also as one passage a line.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from minigpt2.data import batches, readers, sources
from minigpt2.errors import DataError, InputMissingError, MiniGPT2Error
from minigpt2.evaluation.loss import DAMAGED, mean_loss, perplexity
from minigpt2.evaluation.scoring import Likelihood, Request, likelihoods
from minigpt2.generation.text import start_id
from minigpt2.model import LanguageModel
from minigpt2.tokenizers import Tokenizer, encode_array

Style = Literal["harness", "completion"]
_PUBLISHED = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
ADDRESSES = {task: told["address"] for task, told in _PUBLISHED.items() if "address" in told}
# What OpenAI's models reached, by protocol: {model and source: figures}.
REFERENCES = {task: told["references"] for task, told in _PUBLISHED.items()}
_Z = 1.959964  # of a normal distribution 95 % lie within so many standard deviations

_WIKITEXT = yaml.safe_load(Path(__file__).with_name("wikitext.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Item:
    """One question: a context, endings that include the blank before them, and the right one."""

    context: str
    endings: tuple[str, ...]
    label: int
    place: str
    # What HellaSwag's mean divides by: characters of the ending (harness), or its tokens (None).
    sizes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers, with its 95 % interval (Wilson 1927)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TaskResult:
    """What was measured: `items` counted, `left_out` too long for the window, `cut` shortened.

    `perplexity` is that of LAMBADA's words; `accuracy_normed` HellaSwag's by mean log-probability.
    """

    items: int
    left_out: int
    cut: int
    accuracy: Accuracy
    accuracy_normed: Accuracy | None = None
    perplexity: float | None = None


def find_files(task: str, data: str | None, say: sources.Say) -> list[Path]:
    """Return the files of a task: the one that is named, or its published ones, fetched."""
    if data is None:
        return sources.fetch(task, ADDRESSES[task], say)
    if not Path(data).is_file():
        raise InputMissingError(f"no file {data}; without --data {task} is fetched")
    return [Path(data)]


def lambada_items(path: Path) -> Iterator[Item]:
    """Yield the passages of a file, {"text": ...} a line or a row, or plain lines."""
    for row, place in readers.rows_of(path, plain="text"):
        text = readers.text_of(row, "text", place).strip()
        context, _, word = text.rpartition(" ")
        if not context or not word:
            raise DataError(f"{place}: {text[:40]!r} is no passage whose last word could be asked")
        yield Item(context, (" " + word,), 0, place)


def hellaswag_items(path: Path, style: Style = "harness") -> Iterator[Item]:
    """Yield the questions of a file with HellaSwag's fields.

    harness: "activity: context" and endings without the brackets that WikiHow left in them, means
    by character, as lm-evaluation-harness has it. completion: the context and an ending as they
    are, joined by a blank, means by token.
    """
    for row, place in readers.rows_of(path):
        endings, label, sizes = row.get("endings"), str(row.get("label")), None
        whole = isinstance(endings, list) and all(isinstance(e, str) and e for e in endings)
        if not whole or not endings:
            raise DataError(f"{place}: field 'endings' is no list of texts; is it HellaSwag?")
        if not re.fullmatch("[0-9]{1,4}", label) or int(label) >= len(endings):
            raise DataError(f"{place}: label {label!r} is none of {len(endings)} endings (the test "
                            "split is published without labels)")  # fmt: skip
        if style == "completion":
            context = readers.text_of(row, "ctx", place)
        else:
            fields = ("activity_label", "ctx_a", "ctx_b")
            activity, before, after = (readers.text_of(row, field, place) for field in fields)
            context = _without_brackets(f"{activity}: {before} {after.capitalize()}")
            endings = [_without_brackets(ending) for ending in endings]
            sizes = tuple(map(len, endings))
            if not all(map(str.strip, endings)):
                raise DataError(f"{place}: an ending is nothing but brackets")
        yield Item(context, tuple(" " + ending for ending in endings), int(label), place, sizes)


def ask(
    model: LanguageModel,
    tokenizer: Tokenizer,
    items: Iterator[Item],
    limit: int | None = None,
    told: Callable[[int, int], None] = lambda done, total: None,
    window: int | None = None,
) -> TaskResult:
    """Score the items, at most `limit` of them, and count the right answers.

    The window is the model's block_size unless a smaller one is given. Raises DataError where there
    is nothing to ask, the tokenizer cannot express an item, or no item fits the window.
    """
    chosen = list(islice(items, limit))
    found = likelihoods(model, [as_request(tokenizer, item) for item in chosen], told, window)
    pairs = zip(chosen, found, strict=True)
    scored = [(item, [e for e in endings if e]) for item, endings in pairs if None not in endings]
    count = len(scored)
    if not scored:
        size = window or model.config.block_size
        why = f"no answer fits the window of {size} tokens" if chosen else "there are no items"
        raise DataError(f"nothing to score: {why}")
    if any(math.isnan(ending.logprob) for _, endings in scored for ending in endings):
        raise MiniGPT2Error(f"the likelihoods are nan: {DAMAGED}")
    counts = (count, len(chosen) - count, sum(any(e.cut for e in ends) for _, ends in scored))
    if len(chosen[0].endings) == 1:
        words = [word for _, [word] in scored]
        loss = -math.fsum(word.logprob for word in words) / count
        right = share(sum(word.greedy for word in words), count)
        return TaskResult(*counts, right, perplexity=perplexity(loss))
    right = [sum(_likeliest(i, e, mean) == i.label for i, e in scored) for mean in (False, True)]
    by_sum, by_mean = (share(number, count) for number in right)
    return TaskResult(*counts, by_sum, by_mean)


def share(right: int, count: int) -> Accuracy:
    """Return right / count with Wilson's 95 % interval.

    >>> found = share(1, 4)
    >>> found.value, round(found.low, 4), round(found.high, 4)
    (0.25, 0.0456, 0.6994)
    """
    p, z2 = right / count, _Z * _Z
    middle = (p + z2 / (2 * count)) / (1 + z2 / count)
    reach = _Z * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return Accuracy(p, max(0.0, middle - reach), min(1.0, middle + reach))


def _without_brackets(text: str) -> str:
    """Leave out what WikiHow's layout left in HellaSwag; a title's bracket ends a sentence."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def as_request(tokenizer: Tokenizer, item: Item) -> Request:
    """Return an item as token ids; raises DataError for text that has none."""
    try:
        context = tokenizer.encode(item.context) or [start_id(tokenizer)]
        return Request(context, [tokenizer.encode(ending) for ending in item.endings])
    except DataError as error:
        raise DataError(f"{item.place}: {error}") from None


def _likeliest(item: Item, endings: list[Likelihood], mean: bool) -> int:
    """Return the first of the endings with the highest log-probability, by its sum or mean."""
    sizes = (item.sizes or [ending.tokens for ending in endings]) if mean else [1] * len(endings)
    scores = [ending.logprob / size for ending, size in zip(endings, sizes, strict=True)]
    return scores.index(max(scores))


def wikitext(path: Path) -> str:
    """Return the text of a file: plain, or the rows of a published parquet or JSON lines file."""
    if path.suffix in (".parquet", ".jsonl"):
        # Published rows are lines of the raw file; its blank ones, " \n", became empty texts.
        rows = readers.rows_of(path)
        return "".join(readers.text_of(row, "text", place) or " \n" for row, place in rows)
    return sources.read_text(str(path))


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
    for found, meant in _WIKITEXT["blanks"]:
        article = article.replace(found, meant)
    for left, right in _WIKITEXT["pairs"]:
        inside = rf"{re.escape(left)}\s*([^{re.escape(right)}]*?)\s*{re.escape(right)}"
        article = re.sub(inside, rf"{left}\1{right}", article)
    for found, meant in _WIKITEXT["layout"]:
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
        loss = mean_loss(model, lambda i, j, ids=ids: ids[i:j], batches.windows(len(ids), window))
        total += loss * (len(ids) - 1)
        words += len(re.split(r"\s+", article))
    return perplexity(total / words), words
