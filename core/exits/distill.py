"""distill: the classifier predicts the largest softmax probability, so that the head need not be asked."""

from torch import Tensor

from core.exits._contract import LearnedExit, Observation


class Distill(LearnedExit):
    """Label: max softmax probability (the seed report's `distill`)."""

    claims = "max_prob"

    def label(self, observation: Observation) -> Tensor:
        return observation.known.max_prob


EXIT = Distill()
