"""softmax: the head's own confidence decides; nothing is learned, and the head is paid for at every exit."""

from torch import Tensor

from core.exits._contract import ComputedExit, Observation


class Softmax(ComputedExit):
    """Signal: max softmax probability (the seed report's `softmax`; SkipDecode and CALM call it softmax response)."""

    claims = "correct"

    def value(self, observation: Observation) -> Tensor:
        return observation.known.max_prob


EXIT = Softmax()
