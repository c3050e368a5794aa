"""Hard-tokens stage: set a block's threshold; the tokens below it are what the next block trains on."""

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
FEWEST_WINDOWS = 2  # one to train on, one for early stopping


def set_threshold(
    model: Transformer,
    block: int,
    output: BlockOutput,
    method: ExitMethod,
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, Threshold]:
    """The threshold: the `hard_ratio` quantile of the signal over all tokens that are still in."""
    yield StageStarted(stage, "hard tokens", block, 1, 1, output.data.tokens)
    with clock.part("signal"):
        signal = exit_signal(model, block, output, method, config)
    with clock.part("threshold"):
        value = quantile(signal, config.exit.hard_ratio)
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
    """The exit signal of every token that is still in, in order, `[n]`."""
    return method.signal(observe(model, block, output, config.seed), model.classifier(block))


def hard_tokens(output: BlockOutput, signal: Tensor, threshold: float, config: RunConfig) -> BlockData:
    """What the next block reads, once the tokens whose signal reaches the threshold have left.

    Raises:
        NoHardTokensError: too few are left to go on with.
    """
    if config.exit.hard_tokens == "mask" or config.protocol != "staged":
        return mask_hard_tokens(output, signal, threshold, config)
    return pack_hard_tokens(output, signal, threshold)


def pack_hard_tokens(output: BlockOutput, signal: Tensor, threshold: float) -> BlockData:
    """The tokens strictly below the threshold, in order, in new windows of `seq_len`.

    Their old positions and easy neighbours are lost, and the remainder is dropped, as in the report.

    Raises:
        NoHardTokensError: fewer than two windows of them.
    """
    width = output.targets.shape[1]
    hard = (signal < threshold).nonzero().squeeze(1)
    windows = len(hard) // width
    if windows < FEWEST_WINDOWS:
        raise _too_few(len(hard), len(signal), threshold, FEWEST_WINDOWS * width)
    tokens = hard[: windows * width]
    states = output.states.flatten(0, 1)[tokens].unflatten(0, (windows, width))
    return from_states(states, output.targets.flatten()[tokens].unflatten(0, (windows, width)))


@torch.no_grad()
def mask_hard_tokens(output: BlockOutput, signal: Tensor, threshold: float, config: RunConfig) -> BlockData:
    """All windows as they are, with only the tokens strictly below the threshold still in.

    Raises:
        NoHardTokensError: there are none.
    """
    hard, data = signal < threshold, output.data
    if not hard.any():
        raise _too_few(0, len(signal), threshold, 1)
    before = torch.ones_like(data.targets, dtype=torch.bool) if data.active is None else data.active
    staying = before.masked_scatter(before, hard)
    states = carried(output.states, data.states(slice(None)), staying, config.exit.exited_state)
    return from_states(states, data.targets, staying)


def quantile(signal: Tensor, share: float) -> float:
    """The value below which `share` of the signal lies, interpolated linearly as `torch.quantile` does.

    `torch.quantile` itself refuses more than 16 million values. The value is one that the signal's type can hold, so
    that whoever compares it with a signal, in whatever type, decides as the model does.
    """
    position = share * (len(signal) - 1)
    below = int(position)
    values = signal.sort().values[below : below + 2].cpu().double()
    return float(torch.lerp(values[0], values[-1], position - below).to(signal.dtype))


def _too_few(hard: int, tokens: int, threshold: float, needed: int) -> NoHardTokensError:
    return NoHardTokensError(
        f"only {hard} of {tokens} tokens have a signal below the threshold {threshold:.4g}, and the "
        f"next block needs {needed}: raise exit.hard_ratio, or train the block longer so that the "
        f"signal varies"
    )
