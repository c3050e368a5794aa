"""Hard-tokens stage: set a block's threshold; the next block trains on the tokens below it.

Shapes: N windows, T tokens of a window, D model width; n active tokens, h hard tokens.
"""

from collections.abc import Generator

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.errors import NoHardTokensError
from core.events import Event, StageStarted, Threshold
from core.exits._contract import ExitMethod
from core.machine.clock import UNPROFILED, Clock
from core.model import Transformer, carried
from core.stages.block_data import BlockData, from_states
from core.stages.splits import calibration_split
from core.stages.statistics import BlockOutput, observe

HISTOGRAM_BINS = 50
FEWEST_WINDOWS = 2
"""Smallest number of windows of hard tokens: one to train on, one for early stopping."""


def set_threshold(
    model: Transformer,
    block: int,
    output: BlockOutput,
    method: ExitMethod,
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, Threshold]:
    """Set the block's threshold to the `hard_ratio` quantile of the signal over all active tokens, and return it."""
    with clock.part("signal"):
        signal = exit_signal(model, block, output, method, config)  # [n]
    threshold = yield from report_threshold(block, signal, config, stage, clock)
    return threshold


def report_threshold(
    block: int,
    signal: Tensor,
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
    value: float | None = None,
) -> Generator[Event, None, Threshold]:
    """Report the threshold of a block, and return it.

    Args:
        signal: of the tokens that arrive, `[n]`.
        value: the threshold; None: the `hard_ratio` quantile of the signal.
    """
    yield StageStarted(stage, "hard tokens", block, 1, 1, len(signal))
    with clock.part("threshold"):
        value = quantile(signal, config.exit.hard_ratio) if value is None else value
        threshold = Threshold(
            stage=stage,
            block=block,
            threshold=value,
            tokens=len(signal),
            hard_tokens=int((signal < value).sum()),
            histogram=tuple(int(n) for n in torch.histc(signal.float(), bins=HISTOGRAM_BINS, min=0, max=1).tolist()),
            split=calibration_split(config),
        )
    yield threshold
    return threshold


@torch.no_grad()
def exit_signal(model: Transformer, block: int, output: BlockOutput, method: ExitMethod, config: RunConfig) -> Tensor:
    """Compute the exit signal of the active tokens, in order, `[n]`."""
    return method.signal(observe(model, block, output, config), model.classifier(block))


def hard_tokens(output: BlockOutput, signal: Tensor, threshold: float, config: RunConfig) -> BlockData:
    """Return the data of the next block: the tokens whose signal is below the threshold.

    Raises:
        NoHardTokensError: there are too few of them.
    """
    if config.exit.hard_tokens == "mask" or config.protocol != "staged":
        return mask_hard_tokens(output, signal, threshold, config)
    return pack_hard_tokens(output, signal, threshold)


def pack_hard_tokens(output: BlockOutput, signal: Tensor, threshold: float) -> BlockData:
    """Pack the tokens strictly below the threshold, in order, into new windows of T tokens.

    As in the report, a token loses its position and its easy neighbours, and the remainder is dropped.

    Raises:
        NoHardTokensError: they fill fewer than two windows.
    """
    width = output.targets.shape[1]
    hard = (signal < threshold).nonzero().squeeze(1)  # [h]
    windows = len(hard) // width
    if windows < FEWEST_WINDOWS:
        raise _too_few(len(hard), len(signal), threshold, FEWEST_WINDOWS * width)
    tokens = hard[: windows * width]
    states = output.states.flatten(0, 1)[tokens].unflatten(0, (windows, width))  # [windows, T, D]
    return from_states(states, output.targets.flatten()[tokens].unflatten(0, (windows, width)))


@torch.no_grad()
def mask_hard_tokens(output: BlockOutput, signal: Tensor, threshold: float, config: RunConfig) -> BlockData:
    """Keep all windows, with only the tokens strictly below the threshold active.

    Raises:
        NoHardTokensError: there are none.
    """
    hard, data = signal < threshold, output.data
    if not hard.any():
        raise _too_few(0, len(signal), threshold, 1)
    before = torch.ones_like(data.targets, dtype=torch.bool) if data.active is None else data.active
    active = before.masked_scatter(before, hard)  # [N, T]
    states = carried(output.states, data.states(slice(None)), active, config.exit.exited_state)  # [N, T, D]
    return from_states(states, data.targets, active)


def quantile(signal: Tensor, share: float) -> float:
    """Return the quantile of a signal, interpolated linearly as `torch.quantile` does.

    `torch.quantile` itself refuses more than 16 million values. The result is rounded to the signal's dtype, so that a
    comparison with a signal gives the same answer in every dtype.

    Args:
        signal: values, `[n]`.
        share: share of the values below the quantile, in [0, 1].
    """
    position = share * (len(signal) - 1)
    below = int(position)
    values = signal.sort().values[below : below + 2].cpu().double()  # the two nearest values, [2] or [1]
    return float(torch.lerp(values[0], values[-1], position - below).to(signal.dtype))


def _too_few(hard: int, tokens: int, threshold: float, needed: int) -> NoHardTokensError:
    return NoHardTokensError(
        f"only {hard} of {tokens} tokens have a signal below the threshold {threshold:.4g}, and the "
        f"next block needs {needed}: raise exit.hard_ratio, or train the block longer so that the "
        f"signal varies"
    )
