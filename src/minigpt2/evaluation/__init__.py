"""Numbers that can be repeated: losses over a whole split."""

from minigpt2.evaluation.loss import (
    Evaluation,
    evaluate,
    evaluation_windows,
    mean_loss,
    perplexity,
    training_subset,
)

__all__ = [
    "Evaluation",
    "evaluate",
    "evaluation_windows",
    "mean_loss",
    "perplexity",
    "training_subset",
]
