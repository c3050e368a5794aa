"""gain: the classifier predicts the loss that each later block would save; a token stays while one is worth its price.

Shapes: N tokens, L later blocks.
"""

import torch
from torch import Tensor

from core.exits._contract import ExitMethod, Observation
from core.formulas import price_signal
from core.model import ExitClassifier

LARGEST_GAIN = 8.0
"""Nats; a gain beyond it counts as this much, so that a few tokens do not decide the fit of all."""


class Gain(ExitMethod):
    """Signal: the price from which a token should leave, `max_j gain_j / saved_j` over the later blocks j, mapped.

    gain_j is the block's loss less block j's, saved_j the cost that leaving saves. At a price p a token leaves where no
    later block is expected to save more loss than it costs: `gain_j <= p · saved_j` for all j. So one signal serves
    every price, and all exits have the same threshold. Where the classifier knows nothing, that is the best fixed
    depth at each price.
    """

    learns = True
    reads_head = False
    claims = "price"
    needs_later = True
    predicts_gains = True

    def label(self, observation: Observation) -> Tensor:
        return _signal(realised_gains(observation), observation)

    def signal(self, observation: Observation, classifier: ExitClassifier) -> Tensor:
        return _signal(classifier.outputs(observation.hidden), observation)

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        raise TypeError("the gain exit is fitted to gains, not to a label")


def realised_gains(observation: Observation) -> Tensor:
    """Return the loss that each later block saves, nats, `[N, L]`."""
    assert observation.later, "what looks ahead needs the later blocks' statistics"
    here = observation.known.cross_entropy
    gains = torch.stack([here - block.cross_entropy for block in observation.later], dim=1)
    return gains.clamp(-LARGEST_GAIN, LARGEST_GAIN)


def _signal(gains: Tensor, observation: Observation) -> Tensor:
    """Return the signals `[N]` of gains `[N, L]`."""
    return price_signal((gains / gains.new_tensor(observation.saved)).amax(1))


EXIT = Gain()
