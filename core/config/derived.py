"""What follows from a config alone: loss weights of the blocks, number of exits, target exit rates, held-out windows.

Functions on plain values also serve runs that are read back from a store, without building a `RunConfig`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

Shares = Mapping[int, float]
"""Weight of each block's loss in the training objective, in the order of the blocks; 0: no loss of its own."""


def loss_shares(config: "RunConfig") -> Shares:
    """Weights of the blocks' losses when all blocks are trained together.

    joint: proportional to the block's number, as in CALM (Schuster et al. 2022: ω_i = i / Σ_j j). full_depth: the last
    block's loss only.
    """
    blocks = len(config.model.block_layers)
    if config.protocol == "full_depth":
        return {block: float(block == blocks - 1) for block in range(blocks)}
    return {block: (block + 1) / (blocks * (blocks + 1) / 2) for block in range(blocks)}


def exit_count(protocol: str, blocks: int) -> int:
    """Number of exits at which tokens may leave: every block but the last has one, `full_depth` has none."""
    return 0 if protocol == "full_depth" else blocks - 1


def target_exit_shares(protocol: str, hard_ratio: float, blocks: int) -> tuple[float, ...]:
    """Share of the tokens that leaves at each block if every threshold holds on the evaluated text, `[K]`.

    Each exit lets `1 − hard_ratio` of the arriving tokens leave; all leave at the last block.
    """
    exits = exit_count(protocol, blocks)
    leaving = tuple((1 - hard_ratio) * hard_ratio**block for block in range(exits))
    return (*leaving, *(0.0,) * (blocks - 1 - exits), hard_ratio**exits)


def target_shallow_ratio(protocol: str, hard_ratio: float, blocks: int) -> float | None:
    """Share of the tokens that leaves before the last block if every threshold holds; None where there are no exits."""
    exits = exit_count(protocol, blocks)
    return 1 - hard_ratio**exits if exits else None


def calibration_windows(windows: int, config: "RunConfig") -> int:
    """How many windows at the end of the training text are held out for calibration; two are left at least."""
    if config.exit.calibration == "train":
        return 0
    return max(0, min(max(1, int(windows * config.exit.calibration_ratio)), windows - 2))


def early_stopping_windows(windows: int, config: "RunConfig") -> int:
    """How many of a stage's windows stop its training early; one at least, and one is left at least."""
    return min(max(1, int(windows * config.train.val_ratio)), windows - 1)
