"""What an exit method is: where its signal comes from and, if it learns, what its classifier is fitted to.

Shapes: N tokens, D model width.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from core.exits._facts import Claim
from core.head.token_statistics import NO_EXTRAS, Extras, TokenStatistics
from core.model import ExitClassifier


@dataclass(frozen=True)
class Observation:
    """The tokens at a block's exit, as a method may see them.

    Attributes:
        hidden: the block's output states after its readout, `[N, D]`: what head and exit classifier read.
        output: its output states as the next block reads them, `[N, D]`; without a readout the same as `hidden`.
        entered: the states that it was given, `[N, D]`.
        tokens: where each token stands in its split, int64 `[N]`.
        block: the block.
        seed: the run's.
        statistics: of the block's predictions, under the present head; given for labels, and for signals of methods
            that `read_head`, with the method's `extras`.
        later: the same of each later block in turn, should the tokens stay in; given for labels of methods that
            `needs_later`, and for their signals where they `foresee`.
        saved: cost that leaving here saves against leaving at each later block, as a share of the whole model's
            (`core.costs.PricedCosts`); given for methods that `predicts_gains`.
    """

    hidden: Tensor
    output: Tensor
    entered: Tensor
    tokens: Tensor
    block: int
    seed: int
    statistics: TokenStatistics | None = None
    later: tuple[TokenStatistics, ...] = ()
    saved: tuple[float, ...] = ()

    @property
    def known(self) -> TokenStatistics:
        """The statistics, where the method was right to count on them."""
        assert self.statistics is not None, "what reads the head needs its statistics"
        return self.statistics

    @property
    def next(self) -> TokenStatistics:
        """Statistics of the next block."""
        assert self.later, "what looks ahead needs the later blocks' statistics"
        return self.later[0]

    @property
    def last(self) -> TokenStatistics:
        """Statistics of the last block."""
        assert self.later, "what looks ahead needs the later blocks' statistics"
        return self.later[-1]


class ExitMethod(ABC):
    """A way of deciding which tokens leave after a block."""

    learns: ClassVar[bool]
    """Whether an exit classifier is fitted."""
    reads_head: ClassVar[bool]
    """Whether the signal needs the output head, at its full cost, for every token that arrives."""
    claims: ClassVar[Claim] = "rank"
    """What the signal claims to be; it is judged as that, and as no more."""
    extras: ClassVar[Extras] = NO_EXTRAS
    """What label or signal need of the statistics beyond the usual."""
    needs_later: ClassVar[bool] = False
    """Whether it can only be fitted, or its threshold set, once the later blocks are trained."""
    foresees: ClassVar[bool] = False
    """Whether the signal itself looks at the later blocks: a bound, which no model can run."""
    predicts_gains: ClassVar[bool] = False
    """Whether its classifier predicts the gain of each later block, and is fitted to these, not to the label."""
    stand_in: ClassVar[str] = "loss"
    """Which method picks the hard tokens while the later blocks are still to be trained (`needs_later`)."""

    @abstractmethod
    def label(self, observation: Observation) -> Tensor:
        """Return the label: the wanted signal, in [0, 1], larger = surer, `[N]`."""

    @abstractmethod
    def signal(self, observation: Observation, classifier: ExitClassifier) -> Tensor:
        """Return the exit signal, in [0, 1], larger = surer, `[N]`.

        Args:
            observation: with statistics where `reads_head` is true, and with those of later blocks where it `foresees`.
            classifier: the block's exit classifier; used where `learns` is true.
        """

    @abstractmethod
    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        """Summed loss of the classifier's logit `[N]` against the label `[N]`."""

    def claimed_gain(self, signal: Tensor) -> Tensor:
        """Nats that the next block saves, as the signal claims; same shape, falling as the signal rises.

        Defined where `claims` is `gain`.
        """
        raise TypeError(f"the {type(self).__name__.lower()} exit claims no gain")


class LearnedExit(ExitMethod):
    """An exit whose classifier predicts the label from the hidden state, by squared error of the sigmoid."""

    learns = True
    reads_head = False

    def signal(self, observation: Observation, classifier: ExitClassifier) -> Tensor:
        signal: Tensor = classifier(observation.hidden).sigmoid()
        return signal

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        return F.mse_loss(logit.sigmoid(), label, reduction="sum")


class LikelyExit(LearnedExit):
    """An exit whose classifier predicts whether something is so, by binary cross-entropy."""

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logit, label, reduction="sum")


class ComputedExit(ExitMethod):
    """An exit whose signal is computed, not learned; its label is the signal itself."""

    learns = False
    reads_head = True

    @abstractmethod
    def value(self, observation: Observation) -> Tensor:
        """Return the signal, `[N]`."""

    def label(self, observation: Observation) -> Tensor:
        return self.value(observation)

    def signal(self, observation: Observation, classifier: ExitClassifier) -> Tensor:
        return self.value(observation)

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        raise TypeError(f"the {type(self).__name__.lower()} exit learns nothing")
