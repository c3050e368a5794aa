"""oracle: it is known what the later blocks would lose; the upper bound, which no model can run."""

import torch
from torch import Tensor

from core.exits._contract import ComputedExit, Observation


class Oracle(ComputedExit):
    """Signal: sigmoid(lowest later cross-entropy − this block's); at least 1/2 where this block's is the lowest of all.

    At a threshold of 1/2 it is the oracle of the evaluation; at a quantile it keeps the tokens that have most to gain.
    """

    needs_later = True
    foresees = True

    def value(self, observation: Observation) -> Tensor:
        assert observation.later, "what looks ahead needs the later blocks' statistics"
        lowest = torch.stack([block.cross_entropy for block in observation.later]).amin(0)
        return (lowest - observation.known.cross_entropy).sigmoid()


EXIT = Oracle()
