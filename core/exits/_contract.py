"""What an exit method is: where its signal comes from and, if it learns, what its classifier is fitted to.

Shapes: N tokens, D model width.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from core.losses import TokenStatistics
from core.model import ExitClassifier


class ExitMethod(ABC):
    """How tokens decide to leave after a block."""

    learns: ClassVar[bool]
    """Whether an exit classifier is fitted."""
    reads_head: ClassVar[bool]
    """Whether the signal needs the output head, at its full cost, for every token that arrives."""

    @abstractmethod
    def label(self, statistics: TokenStatistics) -> Tensor:
        """What the signal should be, in [0, 1], larger = surer, `[N]`."""

    @abstractmethod
    def signal(self, hidden: Tensor, statistics: TokenStatistics | None, classifier: ExitClassifier) -> Tensor:
        """The exit signal in [0, 1], larger = surer, `[N]`.

        Args:
            hidden: output states of the block, `[N, D]`.
            statistics: of the same tokens under the present head; given where `reads_head` is true.
            classifier: the block's exit classifier; used where `learns` is true.
        """

    @abstractmethod
    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        """Summed loss of the classifier's logit `[N]` against the label `[N]`."""


class LearnedExit(ExitMethod):
    """An exit whose classifier predicts the label from the hidden state, by squared error of the sigmoid."""

    learns = True
    reads_head = False

    def signal(self, hidden: Tensor, statistics: TokenStatistics | None, classifier: ExitClassifier) -> Tensor:
        signal: Tensor = classifier(hidden).sigmoid()
        return signal

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        return F.mse_loss(logit.sigmoid(), label, reduction="sum")
