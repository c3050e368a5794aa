"""loss: the classifier predicts how well the block does on a token, measured against the truth."""

from torch import Tensor

from core.exits._contract import LearnedExit, Observation


class Loss(LearnedExit):
    """Label: exp(−cross-entropy), the probability given to the target (the seed report's `loss`)."""

    claims = "p(target)"

    def label(self, observation: Observation) -> Tensor:
        return (-observation.known.cross_entropy).exp()


EXIT = Loss()
