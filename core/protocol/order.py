"""Plan the stages of a run: which there are, and in which order.

Imports no torch before it is asked.
"""

from collections.abc import Iterator
from typing import Literal

from core.config.run_config import ExitConfig, RunConfig
from core.events import PlannedStage, StageKind
from core.exits import exit_method, first_method, fits_classifier_jointly

Part = Literal["lm", "statistics", "exit", "hard", "ahead", "refit", "threshold"]
"""What is done with a block in one of its stages."""

KINDS: dict[Part, StageKind] = {
    "lm": "lm", "statistics": "statistics", "exit": "exit classifier", "hard": "hard tokens",
    "ahead": "statistics", "refit": "exit classifier", "threshold": "hard tokens",
}  # fmt: skip
TRAINING: tuple[StageKind, ...] = ("lm", "exit classifier")
AHEAD: tuple[Part, ...] = ("ahead", "refit", "threshold")
EVALUATION = PlannedStage("evaluation", "evaluation", None, trains=False)


def planned_stages(config: RunConfig) -> tuple[PlannedStage, ...]:
    """Plan all stages of a run, in their order."""
    return (*_planned(config), EVALUATION)


def block_stage(block: int, part: Part) -> PlannedStage:
    """A stage of one block: `block0.lm` and so on."""
    kind = KINDS[part]
    return PlannedStage(f"block{block}.{part}", kind, block, trains=kind in TRAINING, ahead=part in AHEAD)


def common_training(config: RunConfig) -> PlannedStage:
    """The stage that trains all blocks together, where the protocol has one: `joint.lm` or `full_depth.lm`."""
    return PlannedStage(f"{config.protocol}.lm", "lm", None, trains=True)


def block0_origin(config: RunConfig, fingerprint: str) -> str:
    """All that the first training depends on; the method is part of it only where a classifier trains along.

    Of the exits only the windows that are held out for them count.
    """
    if fits_classifier_jointly(config):
        return fingerprint + config.model_dump_json()
    unused = set(ExitConfig.model_fields) - {"calibration", "calibration_ratio"}
    return fingerprint + config.model_dump_json(exclude={"method": True, "exit": unused})


def _planned(config: RunConfig) -> Iterator[PlannedStage]:
    blocks, looks_ahead = range(len(config.model.block_layers)), _looks_ahead(config)
    if config.protocol != "staged":
        yield common_training(config)
    if config.protocol == "staged" or (config.protocol == "joint" and not looks_ahead):
        for block in blocks:
            yield from _block_stages(config, block)
    if looks_ahead:
        for block in blocks[:-1]:
            yield from _stages_ahead(config, block)


def _block_stages(config: RunConfig, block: int) -> Iterator[PlannedStage]:
    """The stages up to the block's exit: staged training can't go on to the next block without them."""
    if config.protocol == "staged":
        yield block_stage(block, "lm")
    yield block_stage(block, "statistics")
    if config.exit.last_exit or block < len(config.model.block_layers) - 1:
        if first_method(config.method).learns and not fits_classifier_jointly(config):
            yield block_stage(block, "exit")
        yield block_stage(block, "hard")


def _stages_ahead(config: RunConfig, block: int) -> Iterator[PlannedStage]:
    """The stages that set an exit once all blocks are trained."""
    yield block_stage(block, "ahead")
    if exit_method(config.method).learns:
        yield block_stage(block, "refit")
    yield block_stage(block, "threshold")


def _looks_ahead(config: RunConfig) -> bool:
    return config.protocol != "full_depth" and exit_method(config.method).needs_later
