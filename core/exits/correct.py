"""correct: the classifier predicts whether the block's first guess is right."""

import torch.nn.functional as F
from torch import Tensor

from core.exits._contract import LearnedExit
from core.losses import TokenStatistics


class Correct(LearnedExit):
    """Label: 1 where argmax = target, fitted by binary cross-entropy (the seed report's original code)."""

    def label(self, statistics: TokenStatistics) -> Tensor:
        return statistics.correct.to(statistics.max_prob.dtype)

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logit, label, reduction="sum")


EXIT = Correct()
