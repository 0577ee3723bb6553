"""Numbers that can be repeated: whole-split loss, and what counting reaches."""

from minigpt2.evaluation.baselines import bigram_loss
from minigpt2.evaluation.loss import Evaluation, evaluate, mean_loss, perplexity, training_subset

__all__ = [
    "Evaluation",
    "bigram_loss",
    "evaluate",
    "mean_loss",
    "perplexity",
    "training_subset",
]
