"""What counting alone reaches: the losses a trained model has to beat."""

import numpy as np

from minigpt2.data import TokenStream

# Enough to count pairs well; more would only cost memory. Of a larger split the beginning counts.
_MOST_TOKENS = 5_000_000


def bigram_loss(train: TokenStream, val: TokenStream, vocab_size: int) -> float:
    """Return the loss in nats a token on `val` of a bigram table counted on `train`.

    Counts are smoothed towards the smoothed unigram frequencies with one pseudo-count a context
    (MacKay and Peto 1995, "A hierarchical Dirichlet language model").
    """
    ids = train.read(0, min(len(train), _MOST_TOKENS))
    unigram = (np.bincount(ids, minlength=vocab_size) + 1) / (len(ids) + vocab_size)
    contexts = np.bincount(ids[:-1], minlength=vocab_size)
    pairs, counts = np.unique(ids[:-1] * vocab_size + ids[1:], return_counts=True)
    held_out = val.read(0, min(len(val), _MOST_TOKENS))
    wanted = held_out[:-1] * vocab_size + held_out[1:]
    place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, counts[place], 0)
    probability = (seen + unigram[held_out[1:]]) / (contexts[held_out[:-1]] + 1)
    return float(-np.log(probability).mean())
