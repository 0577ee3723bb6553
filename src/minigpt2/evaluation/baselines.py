"""What a measured loss is held against: what counting reaches."""

import math

import numpy as np

from minigpt2.data import TokenStream, bigram_loss
from minigpt2.data.statistics import head, unigram_loss


def baselines(counted: TokenStream, scored: TokenStream, vocab_size: int) -> dict[str, float]:
    """Return the loss on `scored`, in nats a token, of knowing nothing, and of counting `counted`.

    uniform: every token alike. unigram: how often each occurs. bigram: what follows what. Of long
    streams the beginning counts.
    """
    found = {"uniform": math.log(vocab_size)}
    # Of what is scored the first token is nobody's to predict.
    counts = (np.bincount(i, minlength=vocab_size) for i in (head(counted), head(scored)[1:]))
    unigram, bigram = unigram_loss(*counts), bigram_loss(counted, scored, vocab_size)
    known = {"unigram": unigram, "bigram": bigram}
    return found | {name: loss for name, loss in known.items() if loss is not None}
