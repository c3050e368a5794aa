"""Probe of a pretrained model, before any training: what each layer already knows, and whether exits are worth trying.

The model runs once over a few thousand tokens. On most of them an affine readout is fitted to each probed layer by
least squares (`core.stages.readout.fit_affine`); on the others each layer predicts through the model's own norm and
head, with that map and without.

Shapes: K probed layers, N tokens.
"""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.analysis.price_curve import price_curve
from core.analysis.token_table import Floats, TokenTable
from core.backbones.model import PretrainedModel, load_pretrained, replace_model
from core.backbones.readouts import AffineReadout
from core.backbones.state_cache import StateCache
from core.config.derived import dataset_settings
from core.config.run_config import RunConfig
from core.costs import PricedCosts
from core.data.windows import load_dataset
from core.events import Step
from core.formulas import layers_saved, perplexity
from core.generators import Returning
from core.head.loss import token_statistics
from core.head.token_statistics import TokenStatistics
from core.machine.device import prepare
from core.protocol.resolve import resolve
from core.stages.backbone import cache_states
from core.stages.readout import fit_affine

MOST_LAYERS = 12
"""Largest number of probed layers of a model that is wider than `WIDE`: more would take minutes."""
WIDE = 1024
PRICES = (0.5, 1.0, 2.0, 4.0)
"""Prices of the whole model's depth, in nats, that an oracle pays."""
EXITS = 5
"""Number of blocks that the verdict supposes, evenly cut."""
WORTH, LITTLE = 0.05, 0.01
"""Nats below the static line, on average, from which exits are worth trying, or promise little."""

Progress = Generator[str, None, "Probe"]
"""Yields what it is doing, and returns the probe; the consumer may stop early."""


@dataclass(frozen=True)
class ProbedLayer:
    """What a layer knows, on the evaluated tokens.

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
class Probe:
    """The probe of a model.

    Attributes:
        fitted, tokens: number of tokens that maps were fitted on, and that layers were judged on.
        gain: nats below the static line, on average over the savings, of exits by largest probability after each of
            `EXITS` even blocks at one price, with fitted maps; None if they save nothing.
        stable: share of the layers after which no token's prediction changes any more, on average.
    """

    model: str
    fitted: int
    tokens: int
    layers: tuple[ProbedLayer, ...]
    oracle: tuple[PricedOracle, ...]
    gain: float | None
    stable: float

    @property
    def verdict(self) -> str:
        """Whether early exit is worth trying, with the figure that says so."""
        if self.gain is None:
            return "not worth trying: no exit saves anything"
        side = "above" if self.gain < 0 else "below"
        figure = (
            f"with maps fitted on {self.fitted:,} tokens, priced exits by largest probability stand "
            f"{abs(self.gain):.3f} nats {side} the static line on average"
        )
        if self.gain >= WORTH:
            return f"worth trying: {figure}"
        more = "readouts trained on more text, and gain exits, may find more"
        return f"{'of little gain' if self.gain >= LITTLE else 'without a sign of a gain'} so far: {figure}; {more}"


def probe(config: RunConfig) -> Progress:
    """Probe the pretrained model of a config on its corpus.

    Args:
        config: of protocol `frozen`; its training windows are fitted on, its evaluation windows judged on. Its cut and
            its readouts do not matter.

    Raises:
        UsageError: the model or the corpus can't be used.
    """
    yield "reading the model's configuration"
    values = {"every": 1, "readout": "affine", "last_readout": False}
    config = resolve(replace_model(config, values))
    config = replace_model(config, {"block_layers": _probed(sum(config.model.block_layers), config.model.dim)})
    yield "reading the corpus"
    dataset = load_dataset(*dataset_settings(config))
    yield "loading the model"
    device = prepare(config)
    model = load_pretrained(config).to(device)
    windows = torch.cat((dataset.train.inputs, dataset.evaluation.inputs)).to(device)
    cache = yield from _cached(model, windows, config)
    fitted = len(dataset.train.inputs)
    judged = slice(fitted, len(windows))
    targets = dataset.evaluation.targets.to(device).flatten()
    last = len(model.blocks) - 1
    final = _statistics(model, last, cache, judged, targets)
    plain, mapped = [], []
    for block in range(last):
        yield f"judging the layers, {block / last:.0%}"
        plain.append(_statistics(model, block, cache, judged, targets))
        readout = model.readouts[block]
        assert isinstance(readout, AffineReadout), "the config says so"
        fit_affine(readout, cache, block, last, torch.arange(fitted))
        mapped.append(_statistics(model, block, cache, judged, targets))
    table = _table([*mapped, final], targets, cache.seq_len)
    return _summary(config, fitted * cache.seq_len, [*plain, final], [*mapped, final], table)


def _probed(layers: int, dim: int) -> tuple[int, ...]:
    """Return the layers from one probed layer to the next: all of them, or fewer of a wide model."""
    probed = layers if dim <= WIDE else min(layers, MOST_LAYERS)
    ends = [round(layers * number / probed) for number in range(probed + 1)]
    return tuple(np.diff(ends).tolist())


def _cached(model: PretrainedModel, windows: Tensor, config: RunConfig) -> Generator[str, None, StateCache]:
    """Run the model over all windows, once."""
    done, running = 0, Returning(cache_states(model, windows, config, "probe"))
    for event in running:
        if isinstance(event, Step):
            done += event.tokens
        yield f"running the model, {done / windows.numel():.0%}"
    return running.result


@torch.no_grad()
def _statistics(
    model: PretrainedModel, block: int, cache: StateCache, windows: slice, targets: Tensor
) -> TokenStatistics:
    """Compute a block's statistics on those windows."""
    extras = frozenset({"entropy"})
    found = TokenStatistics.empty(len(targets), model.head_weight(block), extras)
    at_once, width = cache.windows_at_once, cache.seq_len
    for start in range(windows.start, windows.stop, at_once):
        some = slice(start, min(start + at_once, windows.stop))
        rows = slice((some.start - windows.start) * width, (some.stop - windows.start) * width)
        hidden = model.readout(block, cache.states(block, some).to(targets.device))
        found.fill(rows, token_statistics(hidden, model.head_weight(block), targets[rows], extras))
    return found


def _table(blocks: list[TokenStatistics], targets: Tensor, seq_len: int) -> TokenTable:
    """Return the table of the judged tokens, with the largest probability as the signal."""
    max_prob = np.stack([block.max_prob.cpu().numpy() for block in blocks])  # [K, N]
    ids = targets.cpu().numpy().astype(np.int32)
    return TokenTable(
        cross_entropy=np.stack([block.cross_entropy.cpu().numpy() for block in blocks]),
        signal=max_prob[:-1],
        max_prob=max_prob,
        prediction=np.stack([block.prediction.cpu().numpy().astype(np.int32) for block in blocks]),
        inputs=ids,
        targets=ids,
        seq_len=seq_len,
    )


def _summary(
    config: RunConfig, fitted: int, plain: list[TokenStatistics], mapped: list[TokenStatistics], table: TokenTable
) -> Probe:
    from core.pretrained.place import short_name

    layers, saved = config.model.block_layers, layers_saved(config.model.block_layers)
    last, vocabulary = plain[-1].prediction, math.log(_vocabulary_size(config))
    probed = tuple(
        ProbedLayer(
            layer=sum(layers[: block + 1]),
            saved=saved[block],
            ppl=perplexity(float(before.cross_entropy.double().mean())),
            affine_ppl=perplexity(float(after.cross_entropy.double().mean())),
            agrees=float((before.prediction == last).double().mean()),
            affine_agrees=float((after.prediction == last).double().mean()),
            entropy=vocabulary * float(_entropy(after).double().mean()),
        )
        for block, (before, after) in enumerate(zip(plain, mapped, strict=True))
    )
    return Probe(
        model=short_name(config.model.source),
        fitted=fitted,
        tokens=table.tokens,
        layers=probed,
        oracle=tuple(priced_oracles(table, saved)),
        gain=exits_gain(table, layers),
        stable=stable_share(table, saved),
    )


def priced_oracles(table: TokenTable, saved: tuple[float, ...]) -> Iterator[PricedOracle]:
    """Yield what an oracle saves at each price.

    Args:
        saved: share of the layers that leaving at each block saves, `[K]`.
    """
    depth = 1 - np.asarray(saved)  # [K]
    for price in PRICES:
        at = (table.cross_entropy + price * depth[:, None]).argmin(axis=0)  # [N]
        loss = np.take_along_axis(table.cross_entropy, at[None], axis=0)
        yield PricedOracle(price, float(1 - depth[at].mean()), float(loss.mean(dtype=np.float64)))


def exits_gain(table: TokenTable, layers: tuple[int, ...]) -> float | None:
    """Return how far below the static line exits by the table's signal get, with `EXITS` even blocks, in nats.

    Their thresholds are set together, for one price, on one half of the tokens, and judged on the other: the average
    over the savings, None where no price saves anything.
    """
    ends = np.cumsum(layers)
    wanted = [ends[-1] * block / EXITS for block in range(1, EXITS + 1)]
    blocks = sorted({int(np.abs(ends - end).argmin()) for end in wanted})
    cut = TokenTable(
        cross_entropy=table.cross_entropy[blocks],
        signal=table.signal[blocks[:-1]],
        max_prob=table.max_prob[blocks],
        prediction=table.prediction[blocks],
        inputs=table.inputs,
        targets=table.targets,
        seq_len=table.seq_len,
    )
    even = tuple(np.diff([0, *ends[blocks]]).tolist())
    depths, free = tuple(float(end) for end in ends[blocks] / ends[-1]), (0.0,) * (len(blocks) - 1)
    points = price_curve(cut, PricedCosts(depths, free), layers_saved(even), is_price=False).points
    saved = np.array([point.savings for point in points])
    order = saved.argsort()
    below = np.array([point.line - point.loss for point in points])[order]
    reach = saved.max() - saved.min()
    return float(np.trapezoid(below, saved[order]) / reach) if reach > 0 else None


def stable_share(table: TokenTable, saved: tuple[float, ...]) -> float:
    """Return the mean share of the layers after the one from which on a token's prediction is the last's."""
    same: Floats = np.logical_and.accumulate((table.prediction == table.prediction[-1])[::-1])[::-1]  # [K, N]
    first = same.argmax(axis=0)  # [N]
    return float(np.asarray(saved)[first].mean())


def _entropy(statistics: TokenStatistics) -> Tensor:
    assert statistics.entropy is not None, "it was asked for"
    return statistics.entropy


def _vocabulary_size(config: RunConfig) -> int:
    from core.pretrained.place import find
    from core.pretrained.settings import vocabulary_size

    return vocabulary_size(find(config.model.source))
