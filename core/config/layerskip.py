"""LayerSkip's recipe: how often layers are dropped, and what the losses of exits weigh, at each step of a training.

Formulas of Elhoushi et al. 2024, "LayerSkip: Enabling Early Exit Inference and Self-Speculative Decoding", section 4.1
(arXiv 2404.16710). There every layer has an exit; here the last layer of every block has one, and keeps its number. The
last block always has a loss, as in the authors' code (`torchtune.modules.early_exit_loss`, `train_last_layer`).

Symbols: L layers, numbered l from 0; K blocks; t step of T, from 0.
"""

from itertools import accumulate
from math import expm1, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from core.config.sections import TrainConfig


def dropout_rates(train: "TrainConfig", layers: int, step: int, steps: int) -> tuple[float, ...]:
    """Return the share of the windows that skips each layer in a step, `[L]`: p(l, t) = S(t) D(l) p_max (eq. 1).

    D(l) = exp(l ln 2 / (L − 1)) − 1 (eq. 2). S(t) is 1 (constant, the authors' choice for a model that was trained
    before), or exp(t ln 2 / (T − 1)) − 1 (rising, eq. 3).

    Args:
        steps: T, all steps of the training.
    """
    scale = _exponential(step, steps) if train.dropout_schedule == "rising" else 1.0
    return tuple(scale * _exponential(layer, layers) * train.layer_dropout for layer in range(layers))


def exit_weights(block_layers: tuple[int, ...], scale: float) -> tuple[float, ...]:
    """Return the weights of all exits before any curriculum, `[K]`: e(l) of eq. 6, for each block's last layer.

    e(l) = e_scale Σ_{i ≤ l} i for l < L − 1, and e(L − 1) = L − 1 + e_scale Σ_{i ≤ L − 2} i. So the exit of the very
    first layer has none.
    """
    *exits, last = (end - 1 for end in accumulate(block_layers))
    before_last = last * (last - 1) // 2
    return (*(scale * layer * (layer + 1) / 2 for layer in exits), last + scale * before_last)


def exits_on(train: "TrainConfig", block_layers: tuple[int, ...], step: int, steps: int) -> tuple[bool, ...]:
    """Return which blocks have a loss in a step, `[K]`: C(t, l) of section 4.1.2, for each block's last layer.

    rotational: every R-th exit, and at each step those after them. gradual: from the last exit to the first, layer by
    layer every T / 2L steps, so that all are on from T / 2 on.
    """
    *exits, _ = accumulate(block_layers)
    layers = sum(block_layers)
    if train.exit_curriculum == "rotational":
        every = train.exit_rotation or max(1, len(exits))
        on = [number % every == step % every for number in range(len(exits))]
    elif train.exit_curriculum == "gradual":
        on = [2 * layers * step >= steps * (layers - (end - 1)) for end in exits]
    else:
        on = [True] * len(exits)
    return (*on, True)


def shares_in(config: "RunConfig", step: int, steps: int) -> dict[int, float]:
    """Return the weights of the blocks' losses in a step, which add up to 1: ẽ(t, l) of eq. 5."""
    layers = config.model.block_layers
    weights = exit_weights(layers, config.train.exit_loss_scale)
    on = exits_on(config.train, layers, step, steps)
    return _normalised([weight * is_on for weight, is_on in zip(weights, on, strict=True)])


def all_shares(config: "RunConfig") -> dict[int, float]:
    """Return the weights of the blocks' losses with all exits on, which add up to 1: what early stopping looks at."""
    return _normalised(exit_weights(config.model.block_layers, config.train.exit_loss_scale))


def mean_predictions(config: "RunConfig") -> float:
    """Return the mean number of blocks with a loss in a step."""
    layers = config.model.block_layers
    exits = sum(weight > 0 for weight in exit_weights(layers, config.train.exit_loss_scale)[:-1])
    if config.train.exit_curriculum == "rotational":
        return 1 + exits / (config.train.exit_rotation or max(1, len(layers) - 1))
    if config.train.exit_curriculum == "gradual":
        later = list(accumulate(layers))[-1 - exits : -1]
        return 1 + sum(1 - (sum(layers) - (end - 1)) / (2 * sum(layers)) for end in later)
    return 1 + exits


def _normalised(weights: "tuple[float, ...] | list[float]") -> dict[int, float]:
    total = sum(weights)
    if not total:  # a single layer
        return {block: float(block == len(weights) - 1) for block in range(len(weights))}
    return {block: weight / total for block, weight in enumerate(weights)}


def _exponential(index: int, count: int) -> float:
    """Return a value that rises exponentially from 0 at index 0 to 1 at the last of so many."""
    return expm1(log(2) * index / (count - 1)) if count > 1 else 1.0
