"""Plan of a run's stages, in order.

Importing this module does not import torch.
"""

from collections.abc import Collection, Iterator
from functools import cache
from typing import Literal

from core.config.derived import exit_count, mapped_layers, sets_thresholds_by_price
from core.config.run_config import ExitConfig, RunConfig
from core.events import PlannedStage, StageKind
from core.exits import exit_method, first_method, fits_classifier_jointly

Part = Literal["lm", "statistics", "exit", "hard", "refit", "threshold"]
"""Work of one stage on a block."""

KINDS: dict[Part, StageKind] = {
    "lm": "lm", "statistics": "statistics", "exit": "exit classifier", "hard": "hard tokens",
    "refit": "exit classifier", "threshold": "hard tokens",
}  # fmt: skip
TRAINING: tuple[StageKind, ...] = ("lm", "exit classifier")
AHEAD: tuple[Part, ...] = ("refit", "threshold")
BACKBONE = PlannedStage("backbone", "statistics", None, trains=False)
"""The pass of a pretrained model over the training windows, in the protocol `frozen`."""
SHORTCUTS = PlannedStage("shortcuts", "statistics", None, trains=True)
"""The fit of the maps that stand in for skipped layers (`exited_state=linear`)."""
FORESEEN = PlannedStage("exits.ahead", "statistics", None, trains=False, ahead=True)
PRICE = PlannedStage("exits.price", "price", None, trains=False, ahead=True)
EVALUATION = PlannedStage("evaluation", "evaluation", None, trains=False)


def planned_stages(config: RunConfig) -> tuple[PlannedStage, ...]:
    """Return all stages of a run, in order."""
    return (*_planned(config), EVALUATION)


@cache  # for every run of a sweep, many times
def block_stage(block: int, part: Part) -> PlannedStage:
    """Return a stage of one block: `block0.lm` and so on."""
    kind = KINDS[part]
    return PlannedStage(f"block{block}.{part}", kind, block, trains=kind in TRAINING, ahead=part in AHEAD)


def stage_among(planned: Collection[PlannedStage], block: int, part: Part) -> PlannedStage | None:
    """Return a stage of a block; None if it is not planned."""
    stage = block_stage(block, part)
    return stage if stage in planned else None


def common_training(config: RunConfig) -> PlannedStage:
    """Return the stage that trains all blocks together: `joint.lm`, `full_depth.lm`.

    Of a pretrained model it is `backbone.lm`, and planned where `train.backbone` is `all`.
    """
    name = BACKBONE.name if config.protocol == "frozen" else config.protocol
    return PlannedStage(f"{name}.lm", "lm", None, trains=True)


def block0_origin(config: RunConfig, fingerprint: str) -> str:
    """Return a string of all that the first training depends on; runs with the same string share its result.

    The method is part of it only where a classifier is trained together with the block, or exits take part in the
    training. Of the exit settings, only those of the held-out windows are.
    """
    if fits_classifier_jointly(config) or config.train.exits_from:
        return fingerprint + config.model_dump_json()
    unused = set(ExitConfig.model_fields) - {"calibration", "calibration_ratio"}
    return fingerprint + config.model_dump_json(exclude={"method": True, "exit": unused})


def _planned(config: RunConfig) -> Iterator[PlannedStage]:
    if config.protocol == "frozen":
        yield from _frozen(config)
        return
    blocks, looks_ahead = range(len(config.model.block_layers)), _looks_ahead(config)
    if config.protocol != "staged":
        yield common_training(config)
    if config.protocol == "staged" or (config.protocol == "joint" and not looks_ahead):
        for block in blocks:
            yield from _block_stages(config, block)
    if looks_ahead:
        yield from stages_ahead(config)


def _block_stages(config: RunConfig, block: int) -> Iterator[PlannedStage]:
    """Yield the stages of a block that come before training the next one."""
    if config.protocol == "staged":
        yield block_stage(block, "lm")
    yield block_stage(block, "statistics")
    if config.exit.last_exit or block < len(config.model.block_layers) - 1:
        if first_method(config.method).learns and not fits_classifier_jointly(config):
            yield block_stage(block, "exit")
        yield block_stage(block, "hard")


def stages_ahead(config: RunConfig) -> Iterator[PlannedStage]:
    """Yield the stages that set all exits once all blocks are trained, after a pass of all tokens."""
    yield FORESEEN
    yield from _exit_stages(config)


def _exit_stages(config: RunConfig) -> Iterator[PlannedStage]:
    """Yield the stages that set all exits: classifiers from the last exit backwards, the price, the thresholds."""
    exits = range(len(config.model.block_layers) - 1)
    method = exit_method(config.method)
    if method.learns and (method.needs_later or not fits_classifier_jointly(config)):
        yield from (block_stage(block, "refit") for block in reversed(exits))
    if sets_thresholds_by_price(config):
        yield PRICE
    yield from (block_stage(block, "threshold") for block in exits)


def readout_order(config: RunConfig) -> list[int]:
    """Return the blocks of a pretrained model whose readout is trained alone: the last first, as others learn from it.

    Where the backbone is trained, readouts are trained with it.
    """
    if config.model.readout == "final" or config.train.backbone == "all":
        return []
    *others, last = range(len(config.model.block_layers))
    return [last, *others] if config.model.last_readout else others


def _frozen(config: RunConfig) -> Iterator[PlannedStage]:
    """Yield the stages of a pretrained model (`core.protocol.frozen`)."""
    if config.train.backbone == "all":
        yield common_training(config)
    yield BACKBONE
    if config.exit.exited_state == "linear" and any(mapped_layers(config.model.block_layers)):
        yield SHORTCUTS
    yield from (block_stage(block, "lm") for block in readout_order(config))
    blocks = range(len(config.model.block_layers))
    yield from (block_stage(block, "statistics") for block in blocks)
    yield from _exit_stages(config)


def _looks_ahead(config: RunConfig) -> bool:
    """Whether exits are set once all blocks are trained: the method, or a price, needs the later blocks' losses."""
    if not exit_count(config.protocol, len(config.model.block_layers)):
        return False
    return sets_thresholds_by_price(config) or exit_method(config.method).needs_later
