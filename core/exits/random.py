"""random: a coin decides, the lower bound that every signal must beat at its own exit rate."""

from torch import Tensor

from core.exits._contract import ComputedExit, Observation
from core.rng import uniform


class Random(ComputedExit):
    """Signal: uniform in [0, 1), one number for each token and block, from a stream of the run's seed."""

    reads_head = False

    def value(self, observation: Observation) -> Tensor:
        drawn = uniform(observation.tokens, observation.seed, "random exit", observation.block)
        return drawn.to(observation.hidden.dtype).to(observation.hidden.device)


EXIT = Random()
