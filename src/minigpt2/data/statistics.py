"""What is in prepared data: sizes, lengths, frequent tokens, and what counting alone predicts."""

import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minigpt2.data.shards import Dataset, TokenStream, Told
from minigpt2.files import read_sealed, replace_file, sealed

_BLOCK = 1 << 20
# Enough to count pairs well; more would only cost memory. Of a larger split the beginning counts.
_MOST_TOKENS = 5_000_000
_MOST_FREQUENT = 20
_QUANTILES = {"least": 0, "quarter": 0.25, "median": 0.5, "three quarters": 0.75, "most": 1}


def describe(data: Dataset, progress: Told = lambda tokens: None) -> dict[str, Any]:
    """Return the statistics of a dataset, ready for its manifest; `progress` is told tokens done.

    Lengths are in tokens, the separator among them; characters a token leave it out. Losses are
    in nats a token of the validation split.
    """
    train, val = _count(data, data.train), _count(data, data.val)
    unseen = (train == 0) & (val > 0)
    frequent = np.argsort(-train, kind="stable")[:_MOST_FREQUENT]
    unigram, bigram = unigram_loss(train, val), bigram_loss(data.train, data.val, len(train))
    size = data.manifest["splits"]["val"]["bytes"]
    return {
        "splits": {split: _sizes(data, split, progress) for split in ("train", "val")},
        "vocabulary": {
            "size": len(train),
            "used_in_training": int((train > 0).sum()),
            "validation_ids_unseen_in_training": int(unseen.sum()),
            "validation_tokens_unseen_in_training": int(val[unseen].sum()),
        },
        "most_frequent": [
            {"id": int(i), "text": data.tokenizer.decode([int(i)]), "count": int(train[i])}
            for i in frequent
            if train[i]
        ],
        "rank_frequency": _rank_frequency(train),
        "token_bytes": _token_lengths(data, train),
        # Bits a byte compare tokenizers.
        "unigram_loss": unigram,
        "bigram_loss": bigram,
        "unigram_bits_per_byte": _bits(unigram, len(data.val), size),
        "bigram_bits_per_byte": _bits(bigram, len(data.val) - 1, data.val.target_bytes),
    }


def _bits(loss: float | None, tokens: int, size: int) -> float | None:
    return None if loss is None or size < 1 else loss * tokens / math.log(2) / size


def unigram_loss(train: np.ndarray, val: np.ndarray) -> float | None:
    """Return the loss on counts `val` (V,) of the frequencies `train` (V,), one added to each."""
    if not val.sum():
        return None
    log_probability = np.log((train + 1) / (train.sum() + len(train)))
    return float(-(val * log_probability).sum() / val.sum())


def bigram_loss(train: TokenStream, val: TokenStream, vocab_size: int) -> float | None:
    """Return the loss in nats a token on `val` of a bigram table counted on `train`.

    Counts are smoothed towards the smoothed unigram frequencies with one pseudo-count a context
    (MacKay and Peto 1995, "A hierarchical Dirichlet language model"). None: nothing to predict.
    """
    if len(val) < 2 or len(train) < 2:
        return None
    ids, held_out = head(train), head(val)
    unigram = (np.bincount(ids, minlength=vocab_size) + 1) / (len(ids) + vocab_size)
    contexts = np.bincount(ids[:-1], minlength=vocab_size)
    pairs, counts = np.unique(ids[:-1] * vocab_size + ids[1:], return_counts=True)
    wanted = held_out[:-1] * vocab_size + held_out[1:]
    place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, counts[place], 0)
    probability = (seen + unigram[held_out[1:]]) / (contexts[held_out[:-1]] + 1)
    return float(-np.log(probability).mean())


def head(stream: TokenStream) -> np.ndarray:
    """Return the beginning of a stream that is counted, as int64."""
    return stream.read(0, min(len(stream), _MOST_TOKENS))


def _blocks(stream: TokenStream) -> Iterator[np.ndarray]:
    for start in range(0, len(stream), _BLOCK):
        yield stream.read(start, min(start + _BLOCK, len(stream)))


def _count(data: Dataset, stream: TokenStream) -> np.ndarray:
    """Return how often each id occurs (V,)."""
    counts = np.zeros(data.manifest["vocab_size"], np.int64)
    return sum((np.bincount(ids, minlength=len(counts)) for ids in _blocks(stream)), counts)


def texts(data: Dataset, stream: TokenStream, told: Told = lambda tokens: None) -> Iterator[str]:
    """Yield the text of a stream in blocks, a line's end for each separator."""
    for ids in _blocks(stream):
        told(len(ids))
        text = data.tokenizer.decode(ids.tolist())
        end = None if data.separator is None else data.tokenizer.decode([data.separator])
        yield text.replace(end, "\n") if end else text


def count_words(parts: Iterable[str]) -> int:
    """Return the number of words between white space in a text that comes in parts.

    >>> count_words(["to be o", "r not"])
    4
    """
    words, inside = 0, False
    for text in parts:
        words += len(text.split()) - (inside and bool(text) and not text[0].isspace())
        inside = not text[-1].isspace() if text else inside
    return words


def _sizes(data: Dataset, split: str, told: Told) -> dict[str, Any]:
    facts, stream = data.manifest["splits"][split], getattr(data, split)
    tokens = facts["tokens"] - (facts["documents"] if data.separator is not None else 0)
    return {
        **{name: facts[name] for name in ("characters", "documents", "tokens")},
        "words": count_words(texts(data, stream, told)),
        "characters_per_token": round(facts["characters"] / max(1, tokens), 4),
        "document_tokens": _lengths(stream),
    }


def _lengths(stream: TokenStream) -> dict[str, Any]:
    """Quantiles of the documents' lengths, and how many lie from each power of two to the next."""
    index = stream.documents
    if not len(index):
        return {}
    start, _, end = index.read(0, len(index))
    every = end - start
    powers = np.bincount(np.floor(np.log2(np.maximum(every, 1))).astype(int))
    quantiles = {name: int(np.quantile(every, q)) for name, q in _QUANTILES.items()}
    return quantiles | {"from_power_of_two": powers.tolist()}


def _rank_frequency(counts: np.ndarray) -> list[list[int]]:
    """Return [rank, count] at ranks that grow by a tenth: enough for a curve."""
    ordered = np.sort(counts[counts > 0])[::-1]
    ranks = np.unique(np.geomspace(1, max(1, len(ordered)), 100).astype(int))
    return [[int(rank), int(ordered[rank - 1])] for rank in ranks if rank <= len(ordered)]


def _token_lengths(data: Dataset, counts: np.ndarray) -> list[int]:
    """Return how many ids in use stand for 1, 2, 3, ... bytes of text."""
    used = (int(i) for i in np.flatnonzero(counts) if i != data.separator)
    sizes = [len(data.tokenizer.decode_bytes([i])) for i in used]
    return np.bincount(sizes, minlength=2)[1:].tolist() if sizes else []


def with_statistics(data: Dataset, progress: Told = lambda tokens: None) -> dict[str, Any]:
    """Return a dataset's statistics, from its manifest or, the first time, put there.

    `progress` is told, block by block, how many more tokens are counted.
    """
    path = data.folder / "manifest.json"
    manifest = read_sealed(path)
    if "statistics" not in manifest:
        manifest["statistics"] = describe(data, progress)
        replace_file(path, sealed(manifest))
    return manifest["statistics"]


def draw_statistics(found: dict[str, Any], path: Path) -> None:
    """Draw what `describe` found; raises StorageError where `path` cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(path.absolute().parent.name.replace("$", r"\$"))
    (ranks, frequent), (lengths, sizes) = figure.subplots(2, 2)
    ranks.loglog(*zip(*found["rank_frequency"], strict=True))
    ranks.set(title="how often the n-th most frequent token occurs", xlabel="n", ylabel="times")
    ranks.grid(alpha=0.3)
    shown = found["most_frequent"][::-1]
    # Escaped: a font has no picture for most of what a token can be, and $ begins mathematics.
    names = [ascii(entry["text"]).replace("$", r"\$") for entry in shown]
    frequent.barh(range(len(shown)), [entry["count"] for entry in shown])
    frequent.set_yticks(range(len(shown)), names, fontsize=7, family="monospace")
    frequent.set(title="most frequent tokens", xlabel="times")
    for place, (name, split) in enumerate(found["splits"].items()):
        counts = split["document_tokens"].get("from_power_of_two", [])
        shift = 0.4 * place - 0.2
        lengths.bar([i + shift for i in range(len(counts))], counts, width=0.4, label=name)
    lengths.set_yscale("symlog", linthresh=1)
    lengths.xaxis.get_major_locator().set_params(integer=True)
    lengths.set(title="documents by length", xlabel="tokens: from 2 to the power of")
    lengths.set_ylabel("documents")
    lengths.legend(frameon=False)
    sizes.bar(range(1, len(found["token_bytes"]) + 1), found["token_bytes"])
    sizes.xaxis.get_major_locator().set_params(integer=True)
    sizes.set(title="tokens in use by length", xlabel="bytes", ylabel="tokens")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    replace_file(path, buffer.getvalue())
