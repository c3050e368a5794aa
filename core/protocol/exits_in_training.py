"""Exits between the epochs of a training: the windows that set them, and the training tokens that leave at them.

Shapes: N windows, T tokens of a window.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.config.derived import calibration_indices, with_calibration_windows
from core.config.run_config import RunConfig
from core.data.batches import in_order
from core.data.windows import Windows
from core.evaluation.passes import Pass, early_exit, static_depths
from core.exits import exit_method
from core.generators import drained
from core.model import Transformer
from core.protocol.exit_setting import ExitSetting
from core.protocol.order import stages_ahead
from core.protocol.runner import Runner
from core.stages.block_data import BlockData
from core.stages.splits import Splits


def policy_data(data: Splits[BlockData], config: RunConfig) -> BlockData:
    """Return the windows to set exits on: those held out for calibration, or stretches of the training windows."""
    if data.heldout is not None:
        return data.heldout
    chosen = calibration_indices(len(data.train), with_calibration_windows(config))
    return data.train[torch.tensor(chosen, device=data.train.targets.device)]


def leaving_blocks(model: Transformer, thresholds: Sequence[float], windows: Windows, config: RunConfig) -> Tensor:
    """Return the block at which each token leaves under early exit, int64 `[N, T]`."""
    method, result = exit_method(config.method), Pass.empty(windows.targets)
    depths = len(model.blocks) if method.foresees else 0
    for batch in in_order(len(windows.inputs), config):
        seen = static_depths(model, windows, batch, depths, config, method.extras)
        foreseen = [observation.known for observation in seen]
        early_exit(model, thresholds, windows, batch, result, config, foreseen)
    return result.left_at.to(windows.targets.device)


def exiting_tokens(model: Transformer, data: Splits[BlockData], config: RunConfig) -> Tensor:
    """Return the block at which each training token leaves, int64 `[N, T]`, under exits set with the present weights.

    The exits are those that the run would get if its training ended here. The model is left as it was, whatever its
    classifiers learn meanwhile, so the result depends on its weights alone.

    Args:
        data: of block 0, the token ids.
    """
    before = {name: weight.clone() for name, weight in model.classifiers.state_dict().items()}
    windows = Windows(data.train.source, data.train.targets)
    exits = ExitSetting(config, model, Runner.unkept(), frozenset(stages_ahead(config)))
    thresholds = drained(exits.looking_ahead(policy_data(data, config)))
    left_at = leaving_blocks(model, [thresholds[block] for block in sorted(thresholds)], windows, config)
    model.classifiers.load_state_dict(before)
    return left_at
