"""Hard-tokens stage: set a block's threshold and pack the tokens below it for the next block."""

from collections.abc import Generator

import torch
from torch import Tensor

from core.config import RunConfig
from core.errors import NoHardTokensError
from core.events import Event, StageStarted, Threshold
from core.exits import exit_method
from core.model import Transformer
from core.stages.batches import BlockData, from_states
from core.stages.statistics import BlockOutput

HISTOGRAM_BINS = 50
FEWEST_WINDOWS = 2  # one to train on, one for early stopping


def set_threshold(
    model: Transformer, block: int, output: BlockOutput, config: RunConfig, stage: str
) -> Generator[Event, None, Threshold]:
    """The threshold: the `hard_ratio` quantile of the signal over all tokens of the stage."""
    yield StageStarted(stage, "hard tokens", block, 1, 1, output.targets.numel())
    signal = exit_signal(model, block, output, config)
    value = quantile(signal, config.exit.hard_ratio)
    threshold = Threshold(
        stage=stage,
        block=block,
        threshold=value,
        tokens=len(signal),
        hard_tokens=int((signal < value).sum()),
        histogram=tuple(int(n) for n in torch.histc(signal.float(), bins=HISTOGRAM_BINS, min=0, max=1).tolist()),
    )
    yield threshold
    return threshold


@torch.no_grad()
def exit_signal(model: Transformer, block: int, output: BlockOutput, config: RunConfig) -> Tensor:
    """The exit signal of every token of the stage, `[N·T]`."""
    states = output.states.flatten(0, 1)
    return exit_method(config.method).signal(states, output.statistics, model.classifier(block))


def pack_hard_tokens(output: BlockOutput, signal: Tensor, threshold: float) -> BlockData:
    """What the next block trains on: the tokens strictly below the threshold, in order, in windows of `seq_len`.

    Their old positions and easy neighbours are lost, and the remainder is dropped, as in the report.

    Raises:
        NoHardTokensError: too few tokens lie below the threshold to train a block.
    """
    width = output.targets.shape[1]
    hard = (signal < threshold).nonzero().squeeze(1)
    windows = len(hard) // width
    if windows < FEWEST_WINDOWS:
        raise NoHardTokensError(
            f"only {len(hard)} of {len(signal)} tokens have a signal below the threshold {threshold:.4g}, and the "
            f"next block needs {FEWEST_WINDOWS * width}: raise exit.hard_ratio, or train the block longer so that the "
            f"signal varies"
        )
    tokens = hard[: windows * width]
    states = output.states.flatten(0, 1)[tokens].unflatten(0, (windows, width))
    return from_states(states, output.targets.flatten()[tokens].unflatten(0, (windows, width)))


def quantile(signal: Tensor, share: float) -> float:
    """The value below which `share` of the signal lies, interpolated linearly as `torch.quantile` does.

    `torch.quantile` itself refuses more than 16 million values. The value is one that the signal's type can hold, so
    that whoever compares it with a signal, in whatever type, decides as the model does.
    """
    position = share * (len(signal) - 1)
    below = int(position)
    values = signal.sort().values[below : below + 2].cpu().double()
    return float(torch.lerp(values[0], values[-1], position - below).to(signal.dtype))
