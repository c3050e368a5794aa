"""entropy: the head must not be torn between many words; nothing is learned."""

from torch import Tensor

from core.exits._contract import ComputedExit, Observation


class Entropy(ComputedExit):
    """Signal: 1 − H/log V, with H the entropy of the prediction over V words.

    BranchyNet leaves where H itself is below a threshold (Teerapittayanon et al. 2016, algorithm 1), which is the same
    rule on another scale.
    """

    extras = frozenset({"entropy"})

    def value(self, observation: Observation) -> Tensor:
        entropy = observation.known.entropy
        assert entropy is not None, "asked for in extras"
        return (1 - entropy).clamp(0, 1)


EXIT = Entropy()
