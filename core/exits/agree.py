"""agree: the classifier predicts whether the last block would make the same guess."""

from torch import Tensor

from core.exits._contract import LikelyExit, Observation


class Agree(LikelyExit):
    """Label: 1 where this block's and the last block's most probable words are the same.

    Fitted by binary cross-entropy, each exit for itself, as CALM's early-exit classifier is (Schuster et al. 2022, the
    "independent" objective): what is to be kept is the full model's prediction, right or wrong.
    """

    claims = "agrees"
    needs_later = True

    def label(self, observation: Observation) -> Tensor:
        return (observation.known.prediction == observation.last.prediction).to(observation.hidden.dtype)


EXIT = Agree()
