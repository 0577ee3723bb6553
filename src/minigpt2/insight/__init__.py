"""Looking inside a model: one recorded pass, and pure functions of what it holds."""

from minigpt2.insight.ablation import ablate
from minigpt2.insight.attribution import Contribution, contributions
from minigpt2.insight.heads import HeadScores, head_scores, induction_scores
from minigpt2.insight.lens import Lens, lens, rank_path
from minigpt2.insight.record import Recording, record

__all__ = [
    "Contribution", "HeadScores", "Lens", "Recording", "ablate", "contributions", "head_scores",
    "induction_scores", "lens", "rank_path", "record",
]  # fmt: skip
