"""margin: the head's first guess must be far ahead of its second; nothing is learned."""

from torch import Tensor

from core.exits._contract import ComputedExit, Observation


class Margin(ComputedExit):
    """Signal: largest probability less second largest (CALM, Schuster et al. 2022, "softmax response")."""

    extras = frozenset({"margin"})

    def value(self, observation: Observation) -> Tensor:
        margin = observation.known.margin
        assert margin is not None, "asked for in extras"
        return margin.clamp(0, 1)


EXIT = Margin()
