"""Values that follow from a config alone: loss weights of the blocks, exits, target exit rates, held-out windows.

Functions on plain values also serve runs that are read back from a store, without a `RunConfig`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from core.config.layerskip import all_shares
from core.extensions.kinds import EXIT_METHODS

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from core.config.sections import DataConfig

HIDDEN_WIDTH = 64
"""Width of an exit classifier's hidden layer (`exit.classifier = "mlp"`)."""
STRETCH = 8
"""Neighbouring windows of a held-out stretch (`exit.calibration = "spread"`)."""

Shares = Mapping[int, float]
"""Weight of each block's loss in the training objective, in the order of the blocks; 0: no loss of its own."""

MOST_CALIBRATION_TOKENS = 50_000
"""Most tokens that are held out for calibration on a pretrained model."""
MOST_SHORTCUT_TOKENS = 20_480
"""Most training tokens that the maps in place of a pretrained model's layers are fitted on."""
COST_NAMES = {"layers": "layers", "flops": "FLOPs"}
"""What a price is paid for (`exit.cost`), for readers."""


def dataset_settings(config: "RunConfig") -> "tuple[DataConfig, int, str]":
    """Return all that a run's dataset follows from, as `core.data.windows.load_dataset` takes it."""
    return config.data, config.train.batch_size, config.model.source


def mapped_layers(block_layers: Sequence[int]) -> tuple[int, ...]:
    """Return how many layers of each block need a map in their place, for tokens that left to be attended to behind it.

    None does of the first block, as no token has left there, nor the last layer, behind which nothing attends.
    """
    last = len(block_layers) - 1
    return tuple(layers - (block == last) if block else 0 for block, layers in enumerate(block_layers))


def shortcut_windows(windows: int, seq_len: int) -> int:
    """Return how many of the training windows the maps in place of layers are fitted on: the first ones."""
    return max(1, min(windows, MOST_SHORTCUT_TOKENS // seq_len))


def loss_shares(config: "RunConfig") -> Shares:
    """Return the weights of the blocks' losses when all blocks are trained together.

    joint: proportional to the block's number, as in CALM (Schuster et al. 2022: ω_i = i / Σ_j j). full_depth: the last
    block's loss only. A pretrained backbone: as in LayerSkip, with all exits on.
    """
    if config.model.pretrained:
        return all_shares(config)
    blocks = len(config.model.block_layers)
    if config.protocol == "full_depth":
        return {block: float(block == blocks - 1) for block in range(blocks)}
    return {block: (block + 1) / (blocks * (blocks + 1) / 2) for block in range(blocks)}


POLICY_SETTINGS = {"quantile": "hard_ratio", "price": "price", "savings": "savings", "loss": "loss_budget"}
"""What each policy of exits aims at, by its name in the section `exit`."""


def unused_exit_settings(protocol: str, policy: str) -> frozenset[str]:
    """Return the settings of thresholds that have no effect, by their names in the section `exit`.

    The hard tokens of protocol `staged` are chosen by `hard_ratio` whatever sets the thresholds in the end.
    """
    every = frozenset(POLICY_SETTINGS.values()) | {"cost"}
    if protocol == "full_depth":
        return every | {"policy"}
    used = {POLICY_SETTINGS.get(policy, "")} | ({"cost"} if policy != "quantile" else set())
    return every - used - ({"hard_ratio"} if protocol == "staged" else set())


def exit_count(protocol: str, blocks: int) -> int:
    """Return the number of exits before the last block: every other block has one, `full_depth` has none."""
    return 0 if protocol == "full_depth" else blocks - 1


def target_exit_shares(protocol: str, hard_ratio: float, blocks: int) -> tuple[float, ...]:
    """Return the share of the tokens that exits at each of K blocks if every threshold holds on the evaluated text.

    At each exit `1 − hard_ratio` of the arriving tokens exit, and all others at the last block.
    """
    exits = exit_count(protocol, blocks)
    leaving = tuple((1 - hard_ratio) * hard_ratio**block for block in range(exits))
    return (*leaving, *(0.0,) * (blocks - 1 - exits), hard_ratio**exits)


def target_shallow_ratio(protocol: str, hard_ratio: float, blocks: int) -> float | None:
    """Return the share of the tokens that exits before the last block if every threshold holds; None without exits."""
    exits = exit_count(protocol, blocks)
    return 1 - hard_ratio**exits if exits else None


def calibration_windows(windows: int, config: "RunConfig") -> int:
    """Return how many training windows are held out for calibration; at least two are left.

    Of a pretrained model's wide states, no more than `MOST_CALIBRATION_TOKENS` are held out: they are held in memory.
    """
    if config.exit.calibration == "train":
        return 0
    wanted = max(1, int(windows * config.exit.calibration_ratio))
    if config.protocol == "frozen":
        wanted = min(wanted, max(1, MOST_CALIBRATION_TOKENS // config.data.seq_len))
    return max(0, min(wanted, windows - 2))


def early_stopping_windows(windows: int, config: "RunConfig") -> int:
    """Return how many of a stage's windows are its early-stopping split: at least one, and at least one is left."""
    return min(max(1, int(windows * config.train.val_ratio)), windows - 1)


def calibration_indices(windows: int, config: "RunConfig") -> list[int]:
    """Return the numbers of the training windows that are held out for calibration, in order.

    heldout: the last ones. spread: stretches of neighbours, evenly over the text: text is alike over many windows, so
    the same number of windows in one piece knows less of the whole.
    """
    count = calibration_windows(windows, config)
    if config.exit.calibration != "spread" or not count:
        return list(range(windows - count, windows))
    stretches, chosen = -(-count // STRETCH), list[int]()
    for number in range(stretches):
        first, end = (edge * windows // stretches for edge in (number, number + 1))
        few = (number + 1) * count // stretches - number * count // stretches
        start = max(first + (end - first - few) // 2, chosen[-1] + 1 if chosen else 0)
        chosen += range(start, start + few)
    return chosen


def with_calibration_windows(config: "RunConfig") -> "RunConfig":
    """Return the config, with stretches of the training windows for calibration where it holds none out."""
    if config.exit.calibration != "train":
        return config
    return config.model_copy(update={"exit": config.exit.model_copy(update={"calibration": "spread"})})


def classifier_width(config: "RunConfig") -> int:
    """Return the width of the exit classifiers' hidden layer; 0 without one."""
    return HIDDEN_WIDTH if config.exit.classifier == "mlp" else 0


def classifier_outputs(config: "RunConfig") -> tuple[int, ...]:
    """Return the number of outputs of each block's exit classifier: one, or a gain for each later block.

    The last block has a classifier too, of one output; it decides nothing.
    """
    blocks = len(config.model.block_layers)
    return tuple(max(1, blocks - 1 - block) if predicts_gains(config) else 1 for block in range(blocks))


def predicts_gains(config: "RunConfig") -> bool:
    """Whether the method's classifiers predict the gains of all later blocks; only a built-in one may."""
    return EXIT_METHODS.is_declared(config.method, "predicts_gains")


def sets_thresholds_by_price(config: "RunConfig") -> bool:
    """Whether one price sets the thresholds of all exits, and there are exits."""
    return config.exit.policy != "quantile" and exit_count(config.protocol, len(config.model.block_layers)) > 0
