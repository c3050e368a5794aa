"""Probe of a pretrained model, before any training: what each layer already knows, and whether exits are worth trying.

The model runs once over some windows, and every layer is judged on its states (`core.analysis.probed_layers`). Then
five exits are fitted as a training would, only more briefly, and held against the static depths
(`core.analysis.probed_exits`).
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from core.analysis.probed_exits import Exits, fitted_exits
from core.analysis.probed_layers import Layers, judged_layers
from core.backbones.model import DEFAULT_BLOCKS, PretrainedModel, load_cuts, replace_model
from core.backbones.state_cache import StateCache
from core.config.derived import dataset_settings
from core.config.run_config import RunConfig
from core.data.windows import Dataset, load_dataset
from core.events import StageStarted, Step
from core.generators import Returning
from core.intervals import FEWEST_BLOCKS, SMALLEST_BLOCK
from core.machine.device import prepare
from core.pretrained.place import short_name
from core.protocol.resolve import resolve
from core.stages.backbone import cache_states
from core.stages.block_data import BlockData, from_tokens
from core.stages.splits import Splits

SETTINGS: Mapping[str, object] = {
    "data.num_samples": 40,
    "data.eval_ratio": 0.8,
    "train.max_epochs": 1,
    "train.batch_size": 2,
    "train.warmup_steps": 2,
}
"""What a probe changes in preset `pretrained`: a minute of an ordinary processor for 135 million weights."""
DECIDED = (
    "method", "protocol", "model.block_layers", "model.every", "model.readout", "model.last_readout", "train.backbone",
)  # fmt: skip
"""What a probe decides itself, beside all of section `exit`."""
MOST_LAYERS = 12
"""Largest number of probed layers of a model that is wider than `WIDE`: more would take minutes."""
WIDE = 1024
WORTH, LITTLE = 0.05, 0.01
"""Nats below the static line, on average, from which exits are worth trying, or promise little."""

Progress = Generator[str, None, "Probe"]
"""Yields what it is doing, and returns the probe; the consumer may stop early."""


@dataclass(frozen=True)
class Probe:
    """The probe of a model.

    Attributes:
        fitted: number of tokens that maps and readouts were fitted on.
    """

    model: str
    fitted: int
    layers: Layers
    exits: Exits

    @property
    def verdict(self) -> str:
        """Whether early exit is worth trying, with the figures that say so."""
        exits = self.exits
        if not exits.points:
            return "not worth trying: no exit saves anything"
        saved = ", ".join(f"{point.saved:.0%}" for point in exits.points)
        rests_on = (
            f"exits by gain at {len(exits.layers)} depths, fitted on {exits.trained:,} and {exits.tokens:,} tokens, at "
            f"{saved} of the layers saved, context exact"
        )
        if exits.gain is None:
            windows = FEWEST_BLOCKS * SMALLEST_BLOCK
            return f"not judged: an interval takes {windows} windows to judge on; raise data.eval_ratio ({rests_on})"
        gain = exits.gain
        found = (
            f"{gain.mean:+.3f} nats [{gain.low:+.3f}, {gain.high:+.3f}] below the static depths, 95% interval over "
            f"windows ({rests_on})"
        )
        if gain.low >= WORTH:
            return f"worth trying: {found}"
        if gain.high < LITTLE:
            return f"not worth trying: {found}"
        if gain.high < WORTH:
            return f"of little gain: {found}"
        return f"not decided: {found}; raise data.num_samples"


def probe(config: RunConfig) -> Progress:
    """Probe the pretrained model of a config on its corpus.

    Args:
        config: of protocol `frozen`; maps and readouts are fitted on its training windows, exits on its evaluation
            windows. Its cut, its readouts and its exits do not matter.

    Raises:
        UsageError: the model or the corpus can't be used.
    """
    yield "reading the model's configuration"
    every, few = _cuts(config)
    yield "reading the corpus"
    dataset = load_dataset(*dataset_settings(few))
    yield "loading the model"
    device = prepare(few)
    deep, model = (loaded.to(device) for loaded in load_cuts([every, few]))
    data = _data(model, dataset, device)
    cache = yield from _cached(deep, data, every)
    layers = yield from judged_layers(deep, cache, data.calibration.targets, every.model.block_layers)
    ends, wanted = (np.cumsum(each.model.block_layers).tolist() for each in (every, few))
    exits = yield from _fitted(model, few, data, cache.of_blocks([ends.index(end) for end in wanted]))
    return Probe(short_name(few.model.source), data.train.tokens, layers, exits)


def _cuts(config: RunConfig) -> tuple[RunConfig, RunConfig]:
    """Return the resolved config with a block for each probed layer, and with the few blocks that exits are fitted to.

    Later layers are the model's own for tokens that left: exits are judged at exact context.
    """
    exits = config.exit.model_copy(update={"exited_state": "deferred", "classifier": "linear", "cost": "layers"})
    config = config.model_copy(update={"method": "gain", "exit": exits})
    config = resolve(replace_model(config, {"every": 1, "readout": "affine", "last_readout": True}))
    ends = probed_ends(sum(config.model.block_layers), config.model.dim)
    wanted = exit_ends(ends)
    every = replace_model(config, {"block_layers": _between(ends), "readout": "final", "last_readout": False})
    return every, replace_model(config, {"block_layers": _between(wanted)})


def probed_ends(layers: int, dim: int) -> list[int]:
    """Return the layers to probe, by the number run: all of them, or fewer of a wide model."""
    probed = layers if dim <= WIDE else min(layers, MOST_LAYERS)
    return [round(layers * number / probed) for number in range(1, probed + 1)]


def exit_ends(ends: list[int]) -> list[int]:
    """Return the probed layers that are nearest to the ends of a few even blocks."""
    even = [ends[-1] * block / DEFAULT_BLOCKS for block in range(1, DEFAULT_BLOCKS + 1)]
    return sorted({min(ends, key=lambda end: abs(end - wanted)) for wanted in even})


def _between(ends: list[int]) -> tuple[int, ...]:
    return tuple(after - before for before, after in pairwise((0, *ends)))


def _data(model: PretrainedModel, dataset: Dataset, device: torch.device) -> Splits[BlockData]:
    """Return the windows that are fitted on, and those that exits are judged on."""
    train, held_out = dataset.train.to(device), dataset.evaluation.to(device)
    return Splits(
        from_tokens(model, train.inputs, train.targets), from_tokens(model, held_out.inputs, held_out.targets)
    )


def _cached(model: PretrainedModel, data: Splits[BlockData], config: RunConfig) -> Generator[str, None, StateCache]:
    """Run the model over all windows, once."""
    windows = torch.cat((data.train.source, data.calibration.source))
    done, running = 0, Returning(cache_states(model, windows, config, "probe"))
    for event in running:
        if isinstance(event, Step):
            done += event.tokens
        yield f"running the model, {done / windows.numel():.0%}"
    return running.result


def _fitted(
    model: PretrainedModel, config: RunConfig, data: Splits[BlockData], cache: StateCache
) -> Generator[str, None, Exits]:
    """Fit and judge the exits."""
    stages, begun = 3 * len(model.blocks) - 1, 0  # a readout, statistics, and but for the last block an exit
    running = Returning(fitted_exits(model, config, data, cache))
    for event in running:
        if isinstance(event, StageStarted):
            yield f"fitting exits, {begun / stages:.0%}"
            begun += 1
    return running.result
