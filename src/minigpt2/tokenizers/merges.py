"""Learn BPE merges from text: count words once, then merge the most frequent pair, and again.

Words, ties and all are those of the `tokenizers` library, so both learn the same merges from the
same text. What changes in a merge is only the words that hold the pair: pair counts are kept, and
corrected by what each of those words loses and gains.

Sennrich et al. 2016, "Neural machine translation of rare words with subword units", algorithm 1.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise

import regex

from minigpt2.concurrency import map_in_order, process_pool
from minigpt2.tokenizers.bpe import BYTE_ORDER, WORDS, Merge

Pair = tuple[int, int]

_WORD = regex.compile(WORDS)
_CHARACTERS_AT_ONCE = 1 << 22  # handed to one process at a time


def count_words(texts: Iterable[str], processes: int = 1) -> Counter[str]:
    """Count the words of all `texts`, as GPT-2 cuts them, on that many processes.

    More than one process re-imports the running script, which then needs the usual guard
    `if __name__ == "__main__"`.

    >>> sorted(count_words(["it's the the"]).items())
    [(' the', 2), ("'s", 1), ('it', 1)]
    """
    if processes == 1:
        return Counter(chain.from_iterable(map(_WORD.findall, texts)))
    total: Counter[str] = Counter()
    with process_pool(processes) as pool:
        for counts in map_in_order(pool, count_words, _batched(texts), 2 * processes):
            total.update(counts)
    return total


def learn_merges(
    words: Counter[str], number: int, progress: Callable[[int], None] = lambda done: None
) -> list[Merge]:
    """Return up to `number` merges: fewer when no pair is left that occurs twice.

    `progress` is told how many there are after each. Of equally frequent pairs the one of lower
    ids is merged, as in `tokenizers`.

    >>> learn_merges(Counter({"hug": 10, "pug": 5, "hugs": 5}), 2)
    [(b'u', b'g'), (b'h', b'ug')]
    """
    id_of = {bytes([byte]): rank for rank, byte in enumerate(BYTE_ORDER)}
    tokens = list(id_of)
    table = _PairTable(words)
    merges: list[Merge] = []
    while len(merges) < number and (pair := table.pop()) is not None:
        left, right = tokens[pair[0]], tokens[pair[1]]
        merged = id_of.setdefault(left + right, len(tokens))
        if merged == len(tokens):
            tokens.append(left + right)
        merges.append((left, right))
        table.merge(pair, merged)
        progress(len(merges))
    return merges


class _PairTable:
    """Every distinct word as ids, how often each pair of neighbours occurs, and in which words."""

    def __init__(self, words: Counter[str]) -> None:
        rank = {byte: i for i, byte in enumerate(BYTE_ORDER)}
        self._words = [[rank[byte] for byte in word.encode()] for word in words]
        self._frequency = list(words.values())
        self._counts: dict[Pair, int] = {}
        self._where: dict[Pair, list[int]] = {}  # may name a word twice, or one that lost the pair
        for index, word in enumerate(self._words):
            self._add(index, word)
        self._heap = [(-count, pair) for pair, count in self._counts.items()]
        heapq.heapify(self._heap)

    def pop(self) -> Pair | None:
        """Return the most frequent pair, None if it occurs once; stale entries are renewed."""
        while self._heap:
            negative, pair = heapq.heappop(self._heap)
            count = self._counts.get(pair, 0)
            if count == -negative:
                return pair if count > 1 else None
            if count > 0:
                heapq.heappush(self._heap, (-count, pair))
        return None

    def merge(self, pair: Pair, merged: int) -> None:
        """Replace the pair by one id, in every word that holds it."""
        gained: set[Pair] = set()
        for index in self._where.pop(pair):
            word = self._words[index]
            joined = _join(word, pair, merged)
            if len(joined) < len(word):
                frequency = self._frequency[index]
                for old in pairwise(word):
                    self._counts[old] -= frequency
                self._words[index] = joined
                gained.update(self._add(index, joined, merged))
        self._counts.pop(pair, None)
        for new in gained:
            heapq.heappush(self._heap, (-self._counts[new], new))

    def _add(self, index: int, word: list[int], fresh: int | None = None) -> Iterable[Pair]:
        """Count a word's pairs; note where those are that hold the `fresh` id, and return them."""
        counts, where, frequency = self._counts, self._where, self._frequency[index]
        noted = []
        for pair in pairwise(word):
            counts[pair] = counts.get(pair, 0) + frequency
            if fresh is None or fresh in pair:
                where.setdefault(pair, []).append(index)
                noted.append(pair)
        return noted


def _join(word: list[int], pair: Pair, merged: int) -> list[int]:
    """Replace each occurrence of the pair, from the left.

    >>> _join([1, 1, 1, 2], (1, 1), 9)
    [9, 1, 2]
    """
    left, right = pair
    joined: list[int] = []
    before = None  # the neighbour before, unless it was joined
    for number in word:
        if before == left and number == right:
            joined[-1], before = merged, None
        else:
            joined.append(number)
            before = number
    return joined


def _batched(texts: Iterable[str]) -> Iterator[list[str]]:
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    yield batch
