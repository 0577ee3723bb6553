"""Numbers that can be repeated: losses over a whole split, tasks, baselines, how a model writes."""

from minigpt2.evaluation.baselines import REFERENCES, baselines
from minigpt2.evaluation.loss import (
    Evaluation,
    evaluate,
    evaluation_windows,
    mean_loss,
    perplexity,
    token_losses,
    training_subset,
)
from minigpt2.evaluation.scoring import Likelihood, Request, likelihoods

__all__ = [
    "REFERENCES",
    "Evaluation",
    "Likelihood",
    "Request",
    "baselines",
    "evaluate",
    "evaluation_windows",
    "likelihoods",
    "mean_loss",
    "perplexity",
    "token_losses",
    "training_subset",
]
