"""softmax: the head's own confidence decides; nothing is learned, and the head is paid for at every exit."""

from torch import Tensor

from core.exits._contract import ExitMethod
from core.losses import TokenStatistics
from core.model import ExitClassifier


class Softmax(ExitMethod):
    """Signal: max softmax probability (the seed report's `softmax`; SkipDecode and CALM call it softmax response)."""

    learns = False
    reads_head = True

    def label(self, statistics: TokenStatistics) -> Tensor:
        return statistics.max_prob

    def signal(self, hidden: Tensor, statistics: TokenStatistics | None, classifier: ExitClassifier) -> Tensor:
        assert statistics is not None, "a signal that reads the head needs its statistics"
        return statistics.max_prob

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        raise TypeError("the softmax exit learns nothing")


EXIT = Softmax()
