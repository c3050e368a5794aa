"""Whether the memory is there that a run needs, before any of it is taken."""

from collections.abc import Sequence

from core.config.run_config import RunConfig
from core.errors import UsageError
from core.estimate.workload import Sizes, memory
from core.machine.free_memory import WHAT_TO_LOWER, free_memory

LEAST_VOCABULARY = {"bpe": 257, "word": 3}
"""Fewest tokens of each tokenizer."""


def require_memory(configs: Sequence[RunConfig], sizes: Sizes | None = None) -> None:
    """Refuse resolved configs of one dataset if a run of theirs would exhaust the memory that is free now.

    Args:
        sizes: those of the dataset; None: the least that any has, so that a model that is too large is refused before a
            text is read.

    Raises:
        UsageError: a run needs more memory than is free.
    """
    if any(config.model.pretrained for config in configs):
        return  # the memory of a pretrained model is known, and checked, before it is loaded
    if sizes is None:
        sizes = Sizes(2, 1, LEAST_VOCABULARY.get(configs[0].data.tokenizer, 3))
    device = configs[0].machine.device
    needed, free = max(memory(config, sizes) for config in configs), free_memory(device)
    if free is not None and needed > free:
        raise UsageError(
            f"a run needs {_size(needed)} of memory, and {_size(free)} is free on {device}: lower {WHAT_TO_LOWER}"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
