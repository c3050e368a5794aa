"""distill: the classifier predicts the largest softmax probability, so that the head need not be asked."""

from torch import Tensor

from core.exits._contract import LearnedExit
from core.losses import TokenStatistics


class Distill(LearnedExit):
    """Label: max softmax probability (the seed report's `distill`)."""

    def label(self, statistics: TokenStatistics) -> Tensor:
        return statistics.max_prob


EXIT = Distill()
