"""saturation: the block must have changed little; nothing is learned, and the head is not asked."""

import torch.nn.functional as F
from torch import Tensor

from core.exits._contract import ComputedExit, Observation


class Saturation(ComputedExit):
    """Signal: cosine between the states that a block was given and its output states, from [-1, 1] to [0, 1].

    CALM compares the states after two layers that follow each other (Schuster et al. 2022, "hidden-state saturation").
    """

    reads_head = False

    def value(self, observation: Observation) -> Tensor:
        cosine = F.cosine_similarity(observation.entered, observation.output, dim=1)
        return ((1 + cosine) / 2).clamp(0, 1)


EXIT = Saturation()
