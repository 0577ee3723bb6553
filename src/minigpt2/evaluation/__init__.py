"""Numbers that can be repeated: losses over a whole split, tasks, baselines, how a model writes."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.evaluation.loss import baselines, evaluate, evaluation_windows, mean_loss
from minigpt2.evaluation.scoring import Request, likelihoods
