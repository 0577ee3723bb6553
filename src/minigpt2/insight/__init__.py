"""Looking inside a model: one recorded pass, and pure functions of what it holds."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.insight.ablation import ablate
from minigpt2.insight.readings import (
    Contribution,
    HeadScores,
    Lens,
    contributions,
    head_scores,
    induction_scores,
    lens,
    rank_path,
)
from minigpt2.insight.record import Recording, record
