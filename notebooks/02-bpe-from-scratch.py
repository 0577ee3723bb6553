# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Byte pair encoding from scratch
#
# GPT-2 reads neither characters nor words but pieces of words that were learned by byte pair
# encoding (BPE; Sennrich et al. 2016). The rule is short: begin with single bytes, merge the most
# frequent pair of neighbours into one new token, and repeat.
#
# This notebook does it by hand, then in a few naive lines, then as the package does it, in
# `minigpt2/tokenizers/merges.py` and `bpe.py`. All must agree, and each `assert` checks that.

# %%
import inspect
import json
import os
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the network

import matplotlib.pyplot as plt
import numpy as np
import regex

import tokenizers
from minigpt2.data import read_text
from minigpt2.tokenizers import (
    END_OF_TEXT,
    BPETokenizer,
    count_words,
    learn_merges,
    load_tokenizer,
    tokenizer_files,
)
from minigpt2.tokenizers import merges as trainer
from minigpt2.tokenizers.bpe import BYTE_ORDER, WORDS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its progress bars would like widgets; none are shown here
    from transformers import AutoTokenizer

plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# ## Words first
#
# Merges never cross the border of a word, so that "dog." and "dog!" share the token for "dog". What
# a word is, a pattern says: contractions, then runs of letters, of digits or of other signs, each
# with the blank before it, then white space.

# %%
print(WORDS)
for sample in ["it's the dog's", "In 1599, by Shakespeare!", "two  blanks\n\nand lines\n"]:
    print(regex.findall(WORDS, sample))

# %% [markdown]
# Nothing is left out: the words put together are the text again. And since a merge happens within
# words, a text is known well enough by its distinct words and how often each occurs.

# %%
text = read_text("shakespeare")
assert "".join(regex.findall(WORDS, text)) == text

words = count_words([text])
assert words == Counter(regex.findall(WORDS, text))
print(f"{words.total():,} words, {len(words):,} of them distinct")
print(words.most_common(8))

# %% [markdown]
# ## Bytes are the first tokens
#
# The first 256 ids are the bytes. GPT-2 gave them an order in which the printable ones come first,
# and the package keeps it, so that its files look like the released ones.

# %%
assert sorted(BYTE_ORDER) == list(range(256))
id_of_byte = {bytes([byte]): rank for rank, byte in enumerate(BYTE_ORDER)}
for sample in ["A", "a", " ", "\n", "é"]:
    print(ascii(sample), [id_of_byte[bytes([byte])] for byte in sample.encode()])

# %% [markdown]
# ## By hand, on a dozen words
#
# So short a text is enough to see every step. Here are its distinct words, cut into bytes, and
# the pairs of neighbours with their counts. A pair counts as often as the word that holds it.

# %%
tiny = count_words(["hug pug hugs hug pug hug hug hugs pug hug bun hug"])


def cut(counted):
    """Return each word as the list of its bytes."""
    return {word: [bytes([byte]) for byte in word.encode()] for word in counted}


def count_pairs(counted, parts_of):
    """Return how often each pair of neighbours occurs, over all words."""
    counts = Counter()
    for word, parts in parts_of.items():
        for pair in pairwise(parts):
            counts[pair] += counted[word]
    return counts


def written(parts):
    """Return tokens as one string with bars between them; a blank shows as _."""
    return "|".join(part.decode("utf-8", "replace") for part in parts).replace(" ", "_")


parts_of = cut(tiny)
for word, parts in parts_of.items():
    print(f"{tiny[word]} times {written(parts)}")
print()
for pair, count in count_pairs(tiny, parts_of).most_common():
    print(f"{count:2} times {written(pair)}")

# %% [markdown]
# The most frequent pair is merged: wherever it stands, its two tokens become one. Overlaps are
# merged from the left, as in `aaa`, where only one pair of two can be merged.


# %%
def join(parts, pair):
    """Replace each occurrence of the pair by one token, from the left."""
    joined, place = [], 0
    while place < len(parts):
        if tuple(parts[place : place + 2]) == pair:
            joined.append(pair[0] + pair[1])
            place += 2
        else:
            joined.append(parts[place])
            place += 1
    return joined


assert join([b"a", b"a", b"a"], (b"a", b"a")) == [b"aa", b"a"]

by_hand = []
for _ in range(3):
    counts = count_pairs(tiny, parts_of)
    pair, count = counts.most_common(1)[0]
    by_hand.append(pair)
    parts_of = {word: join(parts, pair) for word, parts in parts_of.items()}
    shown = ", ".join(written(parts) for parts in parts_of.values())
    print(f"merge {written(pair)} ({count} times): {shown}")

assert learn_merges(tiny, 3) == by_hand

# %% [markdown]
# "hug" with the blank before it is one token already, because it is the most frequent word. "bun"
# is spelled out still. Its `u|n` never becomes a token, with any number of merges: that pair occurs
# once, and a pair has to occur twice to be merged.

# %%
assert parts_of[" hug"] == [b" hug"] and len(parts_of[" bun"]) > 1
print([written(pair) for pair in learn_merges(tiny, 100)])
assert all(b"n" not in left + right for left, right in learn_merges(tiny, 100))

# %% [markdown]
# ## Ties
#
# The next merge is not clear: several pairs are equally frequent. The order in which they are met
# must not decide, or the same text read in another order would give another tokenizer. The package
# takes the pair of lower ids, first of the left token, then of the right one, as the `tokenizers`
# library does.

# %%
counts = count_pairs(tiny, parts_of)
tied = [pair for pair, count in counts.items() if count == max(counts.values())]
print([written(pair) for pair in tied], "each", max(counts.values()), "times")
print("merged first:", written(learn_merges(tiny, 4)[-1]))
assert len(tied) > 1 and learn_merges(tiny, 4)[-1] in tied

assert id_of_byte[b"a"] < id_of_byte[b"c"]
for counted in Counter({"ab": 3, "cd": 3}), Counter({"cd": 3, "ab": 3}):
    assert learn_merges(counted, 2) == [(b"a", b"b"), (b"c", b"d")]

# %% [markdown]
# ## The naive version
#
# With that rule the algorithm is complete. Each round counts all pairs of all words anew.


# %%
def most_frequent(counts, id_of):
    """Return the pair that occurs most often; of equals the one of lower ids."""
    return min(counts, key=lambda pair: (-counts[pair], id_of[pair[0]], id_of[pair[1]]))


def naive_merges(counted, number, told=lambda done: None):
    """Learn merges, counting every pair again for each."""
    parts_of, id_of, merges = cut(counted), dict(id_of_byte), []
    while len(merges) < number and (counts := count_pairs(counted, parts_of)):
        pair = most_frequent(counts, id_of)
        if counts[pair] < 2:
            break
        merges.append(pair)
        id_of.setdefault(pair[0] + pair[1], len(id_of))
        parts_of = {word: join(parts, pair) for word, parts in parts_of.items()}
        told(len(merges))
    return merges


assert naive_merges(tiny, 100) == learn_merges(tiny, 100)


class Clock:
    """Notes the seconds since it was made, each time it is told how many merges are done."""

    def __init__(self):
        self.start, self.done, self.seconds = time.perf_counter(), [], []

    def __call__(self, done):
        self.done.append(done)
        self.seconds.append(time.perf_counter() - self.start)


FEW, MANY = 50, 3839  # what the naive version has time for; what a vocabulary of 4096 needs
naive_clock = Clock()
naive = naive_merges(words, FEW, naive_clock)
clock = Clock()
merges = learn_merges(words, MANY, progress=clock)
assert naive == merges[:FEW]
print(f"the first {FEW} merges: naive {naive_clock.seconds[-1]:.2f} s", end=", ")
print(f"the package {clock.seconds[FEW - 1]:.2f} s")
print(f"all {len(merges):,} merges: the package {clock.seconds[-1]:.2f} s")
print(" ".join(written(pair) for pair in naive))

# %% [markdown]
# Both find the same merges. To see where the naive version loses its time, look at one merge.
#
# ## What a merge changes
#
# Here is the first merge of the corpus: how many words hold the pair, and which pairs have another
# count afterwards.

# %%
before = cut(words)
counts_before = count_pairs(words, before)
pair = merges[0]
after = {word: join(parts, pair) for word, parts in before.items()}
counts_after = count_pairs(words, after)

every = counts_before.keys() | counts_after.keys()
changed = {
    other: counts_after[other] - counts_before[other]
    for other in every
    if counts_after[other] != counts_before[other]
}
holding = [word for word in words if len(after[word]) < len(before[word])]
print(f"{written(pair)} stands in {len(holding):,} of {len(words):,} distinct words;")
print(f"{len(changed):,} of {len(every):,} pair counts change:")
for other, change in sorted(changed.items(), key=lambda item: (-abs(item[1]), item[0]))[:9]:
    print(f"{change:+7,} times {written(other)}")

# %% [markdown]
# Only pairs with one of the two merged tokens or with the new one can change: `x|a|b` loses the
# pair `x|a` and gains `x|ab`. And only words that hold the pair can change a count. So it is enough
# to keep the counts, and for each of these words to take away its old pairs and add its new ones.

# %%
new = pair[0] + pair[1]
for other in changed:
    assert pair[0] in other or pair[1] in other or new in other

corrected = counts_before.copy()
for word in holding:
    for old in pairwise(before[word]):
        corrected[old] -= words[word]
    for fresh in pairwise(after[word]):
        corrected[fresh] += words[word]
assert +corrected == counts_after  # the plus drops pairs whose count is now zero

# %% [markdown]
# ## Incremental counts
#
# With a note for each pair of the words that hold it, those words are found without a search. The
# note may be stale, where a word has lost the pair since; then the word is passed over.


# %%
def incremental_merges(counted, number):
    """Learn merges with counts that are kept; also return how many words each merge touched."""
    parts_of, id_of = cut(counted), dict(id_of_byte)
    counts, where = Counter(), defaultdict(set)

    def account(word, sign):
        for pair in pairwise(parts_of[word]):
            counts[pair] += sign * counted[word]
            where[pair].add(word)

    for word in parts_of:
        account(word, +1)
    merges, touched = [], []
    while len(merges) < number and counts:
        pair = most_frequent(counts, id_of)
        if counts[pair] < 2:
            break
        holding = [word for word in where[pair] if pair in pairwise(parts_of[word])]
        for word in holding:
            account(word, -1)
            parts_of[word] = join(parts_of[word], pair)
            account(word, +1)
        merges.append(pair)
        touched.append(len(holding))
        id_of.setdefault(pair[0] + pair[1], len(id_of))
    return merges, touched


assert incremental_merges(tiny, 100)[0] == learn_merges(tiny, 100)
start = time.perf_counter()
kept, touched = incremental_merges(words, 300)
print(f"{len(kept)} merges with counts that are kept: {time.perf_counter() - start:.2f} s")
assert kept == merges[: len(kept)]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
left.plot(range(1, len(touched) + 1), np.array(touched) / len(words))
left.set(xlabel="merge", ylabel="share of distinct words", title="words that a merge touches")
left.set_ylim(bottom=0)
right.loglog(naive_clock.done, naive_clock.seconds, label="naive")
right.loglog(clock.done, clock.seconds, label="the package")
right.set(xlabel="merges done", ylabel="seconds", title="time since the start")
right.legend(frameon=False)
for axes in (left, right):
    axes.grid(alpha=0.3)
plt.show()
print(f"merge 1 touches {touched[0] / len(words):.1%} of the words,", end=" ")
print(f"the median merge {np.median(touched) / len(words):.2%}")
assert np.mean(touched[:100]) > np.mean(touched[100:200]) > np.mean(touched[200:])
assert np.median(touched) < touched[0] / 2

# %% [markdown]
# A merge touches a small part of the words, and later merges touch fewer still. The naive version
# pays for all words every time.
#
# One cost is left: `most_frequent` looks at every pair. The package keeps pairs in a heap instead,
# which gives the largest in few steps. Counts in a heap cannot be corrected, so its entries may be
# stale too: a count that has fallen meanwhile. An entry that comes to the top is compared with the
# true count and, if it is stale, put back with that. Pairs that gained are pushed again by `merge`,
# so the top is never too low.

# %%
print(inspect.getsource(trainer._PairTable.pop))
print(inspect.getsource(trainer._PairTable.merge))

# %% [markdown]
# ## What was learned
#
# The first merges are fragments that occur everywhere. Later tokens are longer, and more of them
# are whole words.

# %%
tokens = [left + right for left, right in merges]
for first in (0, 50, 500, 3000):
    print(f"from merge {first + 1}:", "  ".join(written([token]) for token in tokens[first:][:14]))
print("the longest:", "  ".join(written([token]) for token in sorted(tokens, key=len)[-8:]))

early, late = (np.mean([len(token) for token in part]) for part in (tokens[:100], tokens[-100:]))
assert early < late
print(f"{early:.1f} bytes a token in the first hundred merges, {late:.1f} in the last hundred")

# %% [markdown]
# The `tokenizers` library, which does the same in Rust, learns the same merges from the same text.

# %%
cutter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
library = tokenizers.Tokenizer(tokenizers.models.BPE())
library.pre_tokenizer = cutter
library.train_from_iterator(
    [text],
    tokenizers.trainers.BpeTrainer(
        vocab_size=256 + len(merges),
        min_frequency=2,
        initial_alphabet=cutter.alphabet(),
        show_progress=False,
    ),
)
tokenizer = BPETokenizer(merges)
learned = json.loads(library.to_str())["model"]["merges"]
assert learned == [merge.split(" ") for merge in tokenizer.to_json()["model"]["merges"]]
print(f"{len(learned):,} merges of the library, all equal to ours")

# %% [markdown]
# ## Encoding
#
# To encode, cut the text into words and each word into bytes. Then, of all merges that are possible
# in the word, do the one that was learned first, and repeat until none is possible.


# %%
rank_of = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
id_of = dict(id_of_byte)
for left_token, right_token in merges:
    id_of.setdefault(left_token + right_token, len(id_of))


def encode_word(word, told=lambda parts: None):
    """Return the tokens of a word, merging by hand."""
    parts = [bytes([byte]) for byte in word.encode()]
    while possible := [pair for pair in pairwise(parts) if pair in rank_of]:
        told(parts)
        parts = join(parts, min(possible, key=rank_of.__getitem__))
    told(parts)
    return parts


gentlewoman = encode_word(" gentlewoman", lambda parts: print(written(parts)))

# %% [markdown]
# The package leaves this to the Rust core of tiktoken, which reads the same table. On the whole
# corpus the ids are equal, and decoding gives the text back.

# %%
start = time.perf_counter()
ids_of_word = {word: [id_of[part] for part in encode_word(word)] for word in words}
ids = [number for word in regex.findall(WORDS, text) for number in ids_of_word[word]]
seconds = time.perf_counter() - start
start = time.perf_counter()
encoded = tokenizer.encode(text)
print(f"by hand {seconds:.2f} s, the package {time.perf_counter() - start:.2f} s")
assert ids == encoded
assert tokenizer.decode(encoded) == text
print(f"{len(text):,} characters, {len(ids):,} tokens")

# %% [markdown]
# Since any byte is a token, any text can be encoded, also one whose characters the corpus does not
# have. It only takes more tokens. One character may be several tokens, so a single token need not
# be a character.

# %%
for sample in ["Romeo", "naïve", "Ромео", "🙂"]:
    numbers = tokenizer.encode(sample)
    assert tokenizer.decode(numbers) == sample
    print(f"{len(sample)} characters, {len(sample.encode())} bytes, {len(numbers)} tokens:", sample)

# %% [markdown]
# ## Special tokens
#
# The id after the last merge ends a document. It is not a merge, so no text can become it: a text
# that spells its name is encoded like any other, as several ids. Otherwise whoever writes the text
# could end documents, or speak for someone else in a chat.

# %%
assert tokenizer.eos_id == tokenizer.vocab_size - 1
numbers = tokenizer.encode(END_OF_TEXT)
print(END_OF_TEXT, "as text:", numbers, "as special token:", [tokenizer.eos_id])
assert tokenizer.eos_id not in numbers and tokenizer.decode(numbers) == END_OF_TEXT
assert tokenizer.eos_id not in tokenizer.encode(f"a{END_OF_TEXT}b " + text[:1000] + END_OF_TEXT)

# %% [markdown]
# ## In other libraries
#
# A tokenizer is two files, in the format of the `tokenizers` library. That library and
# `AutoTokenizer` of `transformers` read them and give the same ids.

# %%
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    for file, content in tokenizer_files(tokenizer, block_size=len(text)).items():
        (folder / file).write_bytes(content)
        print(f"{file}: {len(content):,} bytes")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    automatic = AutoTokenizer.from_pretrained(folder)
    assert load_tokenizer(folder).to_json() == tokenizer.to_json()

assert theirs.encode(text).ids == encoded
assert automatic(text)["input_ids"] == encoded
assert automatic.decode(encoded) == text
assert automatic.eos_token_id == tokenizer.eos_id

# %% [markdown]
# One difference remains, and it is easily overlooked: by default those libraries do read a special
# token's name in a text as the special token. `split_special_tokens=True` makes them treat it as
# text, as the package always does.

# %%
assert automatic(END_OF_TEXT)["input_ids"] == [tokenizer.eos_id]
as_text = automatic(END_OF_TEXT, split_special_tokens=True)["input_ids"]
assert as_text == tokenizer.encode(END_OF_TEXT)
