"""loss: the classifier predicts how well the block does on a token, measured against the truth."""

from torch import Tensor

from core.exits._contract import LearnedExit
from core.losses import TokenStatistics


class Loss(LearnedExit):
    """Label: exp(−cross-entropy), the probability given to the target (the seed report's `loss`)."""

    def label(self, statistics: TokenStatistics) -> Tensor:
        return (-statistics.cross_entropy).exp()


EXIT = Loss()
