"""correct: the classifier predicts whether the block's first guess is right."""

from torch import Tensor

from core.exits._contract import LikelyExit, Observation


class Correct(LikelyExit):
    """Label: 1 where argmax = target, fitted by binary cross-entropy (the seed report's original code)."""

    claims = "correct"

    def label(self, observation: Observation) -> Tensor:
        return observation.known.correct.to(observation.hidden.dtype)


EXIT = Correct()
