"""Numbers that can be repeated: losses over a whole split, tasks, baselines, how a model writes."""

from minigpt2.evaluation.loss import baselines, evaluate, evaluation_windows, mean_loss
from minigpt2.evaluation.scoring import Request, likelihoods

__all__ = ["Request", "baselines", "evaluate", "evaluation_windows", "likelihoods", "mean_loss"]
