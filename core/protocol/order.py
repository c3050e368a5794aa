"""Which stages a run has, in which order, and what decides that."""

from collections.abc import Iterator

from core.config.run_config import ExitConfig, RunConfig
from core.exits._load import exit_method, first_method
from core.stages.trainer import fits_classifier_jointly

EVALUATION = "evaluation"


def planned_stages(config: RunConfig) -> tuple[str, ...]:
    """Names of all stages in their order."""
    return (*_planned(config), EVALUATION)


def _planned(config: RunConfig) -> Iterator[str]:
    staged, blocks = config.protocol == "staged", range(len(config.model.block_layers))
    if not staged:
        yield trained_together(config)
    for block in blocks if decides_at_once(config) else ():
        if staged:
            yield stage_name(block, "lm")
        yield stage_name(block, "statistics")
        if has_exit(config, block):
            if fits_classifier_afterwards(config):
                yield stage_name(block, "exit")
            yield stage_name(block, "hard")
    for block in blocks[:-1] if looks_ahead(config) else ():
        yield stage_name(block, "ahead")
        if exit_method(config.method).learns:
            yield stage_name(block, "refit")
        yield stage_name(block, "threshold")


def stage_name(block: int, part: str) -> str:
    """How a stage is called in events, streams and checkpoints: `block0.lm`."""
    return f"block{block}.{part}"


def trained_together(config: RunConfig) -> str:
    """The stage in which all blocks are trained, where that is one."""
    return f"{config.protocol}.lm"


def looks_ahead(config: RunConfig) -> bool:
    """Whether the exits can be set only once all blocks are trained."""
    return config.protocol != "full_depth" and exit_method(config.method).needs_later


def decides_at_once(config: RunConfig) -> bool:
    """Whether each exit is set before the next block is looked at: what staged training cannot do without."""
    return config.protocol == "staged" or (config.protocol == "joint" and not looks_ahead(config))


def has_exit(config: RunConfig, block: int) -> bool:
    return config.exit.last_exit or block < len(config.model.block_layers) - 1


def fits_classifier_afterwards(config: RunConfig) -> bool:
    return first_method(config.method).learns and not fits_classifier_jointly(config)


def block0_origin(config: RunConfig, fingerprint: str) -> str:
    """All that the first training depends on; the method is part of it only where a classifier trains along.

    Of the exits only the windows that are held out for them count.
    """
    if fits_classifier_jointly(config):
        return fingerprint + config.model_dump_json()
    unused = set(ExitConfig.model_fields) - {"calibration", "calibration_ratio"}
    return fingerprint + config.model_dump_json(exclude={"method": True, "exit": unused})
