"""What an exit method says of itself, known without importing it, and torch with it.

A run's record holds it from the start. Of older runs it is read from the built-in method's file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from core.extensions.imported import IMPORTED_SIGNAL
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import PIN, SHORT_HASH, short_name

Claim = Literal["correct", "p(target)", "max_prob", "agrees", "gain", "price", "rank"]
"""What a signal claims to be, and so what it is compared with.

correct: probability that the block's prediction is right. p(target): probability it gives the target. max_prob: its
largest probability. agrees: probability that its prediction is the last block's. gain: a monotone map of the nats that
the next block saves. price: the price of the whole model's cost up to which a token should stay, mapped by
`price_signal`. rank: an order of the tokens and nothing more.
"""
CLAIMS: tuple[Claim, ...] = get_args(Claim)
RECORD_KEY = "exit_method"
"""Where a run's record holds what its method said of itself."""


@dataclass(frozen=True)
class MethodFacts:
    """Facts of a method, read without importing it.

    Attributes:
        reference: as in the run's config: a built-in name, or a pinned plug-in.
        reads_head: whether its signal reads the output head, at its full cost.
        claims: what its signal claims to be.
        learns: whether its signal is a classifier's; of a user's own method that left no word of it, taken for granted.
    """

    reference: str
    reads_head: bool
    claims: Claim
    learns: bool = True

    @property
    def label(self) -> str:
        """Name for tables; a user's own method is marked, with the hash of its content, and so is an imported one."""
        name, digest = short_name(self.reference), self.reference.partition(PIN)[2]
        if self.reference.startswith(IMPORTED_SIGNAL):
            return f"{name} (imported)"
        return f"{name} (own, {digest[:SHORT_HASH]})" if digest else name


@cache
def declared_facts(name: str) -> MethodFacts:
    """Facts of a built-in method, from its file."""
    declared = EXIT_METHODS.declared(name)
    return MethodFacts(name, bool(declared["reads_head"]), declared["claims"], bool(declared["learns"]))


def run_facts(row: Mapping[str, Any]) -> MethodFacts:
    """Facts of a stored run's method; one that nobody knows any more claims nothing."""
    reference, said = row["config"].get("method", row["method"]), row["record"].get(RECORD_KEY)
    known = declared_facts(reference) if reference in EXIT_METHODS.built_in else MethodFacts(reference, False, "rank")
    if said is None:
        return known
    return MethodFacts(reference, said["reads_head"], said["claims"], said.get("learns", known.learns))
