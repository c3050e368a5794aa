"""What each layer of a pretrained model knows: judged by the model's own norm and head, without a map and with one.

The map of a layer is fitted by least squares to the last layer's states (`core.stages.readout.fit_affine`), on all
windows but the held-out ones; layers are judged on every few tokens of these.

Shapes: K probed layers, N tokens, D model width.
"""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from core.analysis.token_table import Floats, Integers
from core.backbones.model import PretrainedModel
from core.backbones.readouts import AffineReadout, Readout
from core.backbones.state_cache import StateCache
from core.formulas import layers_saved, perplexity
from core.head.loss import token_statistics
from core.head.token_statistics import TokenStatistics
from core.stages.readout import fit_affine

PRICES = (0.5, 1.0, 2.0, 4.0)
"""Prices of the whole model's depth, in nats, that an oracle pays."""
JUDGED = 384
"""Number of held-out tokens, evenly spread, that each layer is judged on; each takes as many passes of the head."""


@dataclass(frozen=True)
class ProbedLayer:
    """What a layer knows, on the judged tokens.

    Attributes:
        layer: number of layers run.
        saved: share of the layers that leaving here saves.
        ppl, affine_ppl: perplexity through the model's norm and head, without a map and with the fitted one.
        agrees, affine_agrees: share of the predictions that are the last layer's.
        entropy: mean entropy of the predictions with the map, nats.
    """

    layer: int
    saved: float
    ppl: float
    affine_ppl: float
    agrees: float
    affine_agrees: float
    entropy: float


@dataclass(frozen=True)
class PricedOracle:
    """Exits that know every layer's loss and pay for depth: each token leaves where loss + price × depth is lowest.

    Attributes:
        price: nats for the whole depth.
        saved: share of the layers saved.
        loss: mean loss, nats.
    """

    price: float
    saved: float
    loss: float


@dataclass(frozen=True)
class Layers:
    """All probed layers.

    Attributes:
        tokens: number of tokens that they were judged on.
        stable: share of the layers after which no token's prediction changes any more, on average.
    """

    rows: tuple[ProbedLayer, ...]
    oracle: tuple[PricedOracle, ...]
    tokens: int
    stable: float


def judged_layers(
    model: PretrainedModel, cache: StateCache, targets: Tensor, layers: tuple[int, ...]
) -> Generator[str, None, Layers]:
    """Judge every block of a model without readouts of its own, whose blocks end at the probed layers.

    Args:
        cache: states of all windows; the held-out ones are the last.
        targets: ids of the held-out windows' next tokens, int64 `[W, T]`.
        layers: number of layers of each block.
    """
    fitted, last = cache.windows - len(targets), len(model.blocks) - 1
    plain, mapped = list[TokenStatistics](), list[TokenStatistics]()
    final = cast(Readout, model.readouts[last])
    with_map = AffineReadout(final.norm, cache.dim).to(targets.device)
    for block in range(last + 1):
        yield f"judging the layers, {block / (last + 1):.0%}"
        states, wanted = _some_tokens(cache, block, targets)
        plain.append(_statistics(final, model.head_weight(block), states, wanted))
        if block < last:
            fit_affine(with_map, cache, block, last, torch.arange(fitted))
            mapped.append(_statistics(with_map, model.head_weight(block), states, wanted))
    mapped.append(plain[-1])
    return _summary(layers, plain, mapped, math.log(len(model.head.weight)))


def _some_tokens(cache: StateCache, block: int, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return a block's states at every few held-out tokens, and the tokens after these: `[N, D]` and `[N]`."""
    held_out = slice(cache.windows - len(targets), cache.windows)
    every = -(-targets.numel() // JUDGED)
    return cache.states(block, held_out)[::every].to(targets.device), targets.flatten()[::every]


@torch.no_grad()
def _statistics(readout: Readout, head: Tensor, states: Tensor, targets: Tensor) -> TokenStatistics:
    return token_statistics(readout(states), head, targets, frozenset({"entropy"}))


def _summary(
    layers: tuple[int, ...], plain: list[TokenStatistics], mapped: list[TokenStatistics], most_entropy: float
) -> Layers:
    saved, last = layers_saved(layers), plain[-1].prediction
    rows = tuple(
        ProbedLayer(
            layer=sum(layers[: block + 1]),
            saved=saved[block],
            ppl=perplexity(float(before.cross_entropy.double().mean())),
            affine_ppl=perplexity(float(after.cross_entropy.double().mean())),
            agrees=float((before.prediction == last).double().mean()),
            affine_agrees=float((after.prediction == last).double().mean()),
            entropy=most_entropy * float(_entropy(after).double().mean()),
        )
        for block, (before, after) in enumerate(zip(plain, mapped, strict=True))
    )
    losses = np.stack([block.cross_entropy.cpu().numpy() for block in mapped])  # [K, N]
    predictions = np.stack([block.prediction.cpu().numpy() for block in mapped])  # [K, N]
    return Layers(rows, tuple(priced_oracles(losses, saved)), len(last), stable_share(predictions, saved))


def priced_oracles(losses: Floats, saved: tuple[float, ...]) -> Iterator[PricedOracle]:
    """Yield what an oracle saves at each price.

    Args:
        losses: loss of each token at each block, nats, `[K, N]`.
        saved: share of the layers that leaving at each block saves, `[K]`.
    """
    depth = 1 - np.asarray(saved)  # [K]
    for price in PRICES:
        at = (losses + price * depth[:, None]).argmin(axis=0)  # [N]
        loss = np.take_along_axis(losses, at[None], axis=0)
        yield PricedOracle(price, float(1 - depth[at].mean()), float(loss.mean(dtype=np.float64)))


def stable_share(predictions: Integers, saved: tuple[float, ...]) -> float:
    """Return the mean share of the layers after the one from which on a token's prediction is the last's.

    Args:
        predictions: most probable token at each block, `[K, N]`.
        saved: share of the layers that leaving at each block saves, `[K]`.
    """
    same = np.logical_and.accumulate((predictions == predictions[-1])[::-1])[::-1]  # [K, N]
    first = same.argmax(axis=0)  # [N]
    return float(np.asarray(saved)[first].mean())


def _entropy(statistics: TokenStatistics) -> Tensor:
    assert statistics.entropy is not None, "it was asked for"
    return statistics.entropy
