"""Name of a trained stage by all that its weights follow from, so that runs anywhere tell whether they share it."""

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version

import torch

from core.config.run_config import RunConfig
from core.events import PlannedStage
from core.exits import fits_classifier_jointly
from core.protocol.order import block0_origin, block_stage, common_training, planned_stages

STAGE_VERSION = 1
"""To be raised when stages give other weights than before."""
PRICE_FIELDS = {"policy", "price", "savings", "loss_budget"}
"""Fields of `exit` that set thresholds once all blocks are trained."""
THRESHOLD_FIELDS = PRICE_FIELDS | {"hard_ratio"}
"""Fields of `exit` that nothing depends on before the first threshold is set."""


def stage_keys(config: RunConfig, fingerprint: str) -> dict[str, str]:
    """Return the key of each stage that a run trains, by the stage's name.

    Two runs have the same key exactly where they would compute the same weights, bit for bit.

    Args:
        config: resolved; its threads are those that the run computes with.
        fingerprint: of the corpus.
    """
    here = surroundings(config.machine.device)
    return {
        stage.name: _digest(STAGE_VERSION, stage.name, fingerprint, _text(config, stage), *here)
        for stage in planned_stages(config)
        if stage.trains
    }


def depends_on_thresholds(config: RunConfig, stage: PlannedStage) -> bool:
    """Whether a trained stage follows from thresholds that were set before it."""
    if config.train.exits_from:
        return True
    return not (is_first(config, stage) or _fits_all_tokens(config, stage))


def is_first(config: RunConfig, stage: PlannedStage) -> bool:
    """Whether a stage is trained before anything of the exits is known."""
    if config.protocol == "frozen":
        return stage.kind in ("lm", "statistics")
    return stage in (common_training(config), block_stage(0, "lm"))


def _text(config: RunConfig, stage: PlannedStage) -> str:
    """Write the part of a config that a stage follows from."""
    if config.train.exits_from:
        return config.model_dump_json()
    if is_first(config, stage) and not fits_classifier_jointly(config):
        return block0_origin(config, "")
    unused = PRICE_FIELDS if depends_on_thresholds(config, stage) else THRESHOLD_FIELDS
    return config.model_dump_json(exclude={"exit": unused})


def _fits_all_tokens(config: RunConfig, stage: PlannedStage) -> bool:
    """Whether a stage fits a classifier on tokens that no exit has chosen, in blocks that none has."""
    if stage.kind != "exit classifier":
        return False
    return (stage.block == 0 and not stage.ahead) or (stage.ahead and config.protocol != "staged")


@cache
def surroundings(name: str) -> tuple[str, ...]:
    """Return the versions and the kind of processor that the last bits depend on, of a device."""
    device = torch.device(name)
    if device.type == "cuda":
        kind = torch.cuda.get_device_name(device)
    else:
        kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return version("eetui"), torch.__version__, device.type, kind


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:40]
