"""Whether memory and disk are there that a run needs, before any of it is taken."""

from collections.abc import Sequence

from core.config.run_config import RunConfig
from core.errors import UsageError
from core.estimate.workload import Sizes, memory
from core.machine.free_memory import WHAT_TO_LOWER, WHAT_TO_LOWER_FROZEN, WHAT_TO_LOWER_TRAINED, free_memory

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
    if sizes is None:
        sizes = Sizes(2, 1, LEAST_VOCABULARY.get(configs[0].data.tokenizer, 3))
    device = configs[0].machine.device
    needed, free = max(memory(config, sizes) for config in configs), free_memory(device)
    if free is not None and needed > free:
        lower = WHAT_TO_LOWER_FROZEN if configs[0].model.pretrained else f"lower {WHAT_TO_LOWER}"
        if any(config.train.backbone == "all" for config in configs):
            lower = WHAT_TO_LOWER_TRAINED
        raise UsageError(f"a run needs {_size(needed)} of memory, and {_size(free)} is free on {device}: {lower}")


def require_states(config: RunConfig, sizes: Sizes) -> None:
    """Refuse a run on a pretrained model whose cached states do not fit on the disk.

    Raises:
        ConfigError: they do not.
    """
    if config.model.pretrained:
        from core.backbones.state_cache import require_room

        require_room(sizes.train_windows * config.data.seq_len, config)


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
