"""gain: the classifier predicts the loss that the next block would save."""

import torch.nn.functional as F
from torch import Tensor

from core.exits._contract import LearnedExit, Observation

LARGEST_GAIN = 8.0
"""Nats; a gain beyond it counts as this much: float32 can still tell sigmoid(8) from 1."""


class Gain(LearnedExit):
    """Label: sigmoid(−g), g = this block's cross-entropy − the next one's; fitted to g by least squares.

    What a token that leaves costs is g, so the best set of tokens to keep at a given rate is that of the largest
    E[g | state]. Squared error of the *logit* makes the classifier the linear estimate of just that; squared error of
    the sigmoid would estimate E[sigmoid(−g)], and with it another order.
    """

    claims = "gain"
    needs_later = True

    def label(self, observation: Observation) -> Tensor:
        gain = observation.known.cross_entropy - observation.next.cross_entropy
        return (-gain.clamp(-LARGEST_GAIN, LARGEST_GAIN)).sigmoid()

    def loss(self, logit: Tensor, label: Tensor) -> Tensor:
        return F.mse_loss(logit, label.logit(), reduction="sum")

    def claimed_gain(self, signal: Tensor) -> Tensor:
        return -signal.logit().clamp(-LARGEST_GAIN, LARGEST_GAIN)


EXIT = Gain()
