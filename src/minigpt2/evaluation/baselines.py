"""What a measured loss is held against: what counting reaches, and what OpenAI's GPT-2 reached."""

import math

import numpy as np

from minigpt2.data import TokenStream, bigram_loss
from minigpt2.data.statistics import head, unigram_loss

# Accuracies as shares. "paper": Radford et al. 2019, table 3, zero-shot (WikiText in perplexity a
# word, after their own detokenizers). "this protocol": what lm-evaluation-harness measured of the
# released 124M; completion style and WikiText-2 a token were measured apart from it.
REFERENCES: dict[str, dict[str, dict[str, float]]] = {
    "lambada": {
        "gpt2, this protocol": {"accuracy": 0.3256, "perplexity": 40.06},
        "gpt2, paper": {"accuracy": 0.4599, "perplexity": 35.13},
        "gpt2-medium, paper": {"accuracy": 0.5548, "perplexity": 15.60},
        "gpt2-large, paper": {"accuracy": 0.6012, "perplexity": 10.87},
        "gpt2-xl, paper": {"accuracy": 0.6324, "perplexity": 8.63},
    },
    "hellaswag": {"gpt2, this protocol": {"accuracy": 0.2892, "accuracy_normed": 0.3114}},
    "hellaswag-completion": {
        "gpt2, this protocol": {"accuracy": 0.2859, "accuracy_normed": 0.2955}
    },
    "wikitext-2": {
        "gpt2, this protocol": {"perplexity": 29.94, "word_perplexity": 37.37},
        "gpt2, paper": {"word_perplexity": 29.41},
        "gpt2-medium, paper": {"word_perplexity": 22.76},
        "gpt2-large, paper": {"word_perplexity": 19.93},
        "gpt2-xl, paper": {"word_perplexity": 18.34},
    },
    "wikitext-103": {
        "gpt2, paper": {"word_perplexity": 37.50},
        "gpt2-medium, paper": {"word_perplexity": 26.37},
        "gpt2-large, paper": {"word_perplexity": 22.05},
        "gpt2-xl, paper": {"word_perplexity": 17.48},
    },
}


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
