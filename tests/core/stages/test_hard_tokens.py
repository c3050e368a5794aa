"""Thresholds and the hard tokens below them."""

import pytest
import torch

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.errors import NoHardTokensError
from core.exits import exit_method
from core.model import Transformer, new_model
from core.stages.block_data import from_tokens
from core.stages.hard_tokens import exit_signal, mask_hard_tokens, pack_hard_tokens, quantile, set_threshold
from core.stages.statistics import BlockOutput, block_output
from tests.core.training import DIM, WORDS, MakeConfig, result_of

LOSS = exit_method("loss")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.77, 0.95])
@pytest.mark.parametrize("tokens", [1, 2, 3, 10, 101])
def test_the_threshold_is_torch_s_quantile(tokens: int, share: float) -> None:
    signal = torch.rand(tokens, generator=torch.Generator().manual_seed(tokens), dtype=torch.float64)
    assert quantile(signal, share) == pytest.approx(torch.quantile(signal, share).item(), rel=1e-12)


def test_a_threshold_is_a_number_that_the_signal_s_dtype_can_hold() -> None:
    """Otherwise the model, which rounds it to that dtype, and a reader of stored signals could disagree on a token."""
    low = torch.tensor(0.3)
    signal = torch.stack([low, low.nextafter(torch.tensor(1.0))])
    for share in (0.2, 0.5, 0.8):
        value = quantile(signal, share)
        assert torch.tensor(value, dtype=torch.float32).item() == value
        assert [number >= value for number in signal.tolist()] == (signal >= value).tolist()


def test_the_threshold_event_counts_the_signal_it_was_set_on(
    output: tuple[Transformer, BlockOutput, RunConfig],
) -> None:
    model, found, config = output
    threshold = result_of(set_threshold(model, 0, found, LOSS, config, "block0.hard"))
    signal = exit_signal(model, 0, found, LOSS, config)
    assert threshold.threshold == pytest.approx(torch.quantile(signal, 0.4).item(), rel=1e-6)
    assert threshold.hard_tokens == sum(value < threshold.threshold for value in signal.tolist())
    assert threshold.hard_tokens / threshold.tokens == pytest.approx(0.4, abs=0.01)
    assert len(threshold.histogram) == 50
    bins = [sum(int(min(value * 50, 49)) == index for value in signal.tolist()) for index in range(50)]
    assert list(threshold.histogram) == bins


def test_hard_tokens_are_repacked_in_their_order_and_the_remainder_is_dropped(
    output: tuple[Transformer, BlockOutput, RunConfig],
) -> None:
    _, found, _ = output
    signal = torch.rand(48 * 4, generator=torch.Generator().manual_seed(4))
    signal[0] = 0.4
    packed = pack_hard_tokens(found, signal, signal[0].item())
    states, targets = [], []
    for window in range(48):
        for position in range(4):
            if signal[window * 4 + position] < signal[0]:
                states.append(found.states[window, position])
                targets.append(int(found.targets[window, position]))
    full = len(states) // 4 * 4
    assert 8 <= full < len(states)
    assert torch.equal(packed.states(slice(None)), torch.stack(states[:full]).view(-1, 4, DIM))
    assert packed.targets.flatten().tolist() == targets[:full]


def test_a_constant_signal_leaves_no_hard_tokens(output: tuple[Transformer, BlockOutput, RunConfig]) -> None:
    model, found, config = output
    for parameter in model.classifiers[0].parameters():
        parameter.data.zero_()
    threshold = result_of(set_threshold(model, 0, found, LOSS, config, "block0.hard"))
    assert (threshold.threshold, threshold.hard_tokens) == (0.5, 0)
    with pytest.raises(NoHardTokensError, match="only 0 of 192 tokens"):
        pack_hard_tokens(found, exit_signal(model, 0, found, LOSS, config), threshold.threshold)


@pytest.mark.parametrize("exited_state", ["input", "copy", "drop", "deferred"])
def test_masked_hard_tokens_keep_their_windows_and_the_others_state_is_as_asked(
    exited_state: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(exited_state=exited_state, hard_tokens="mask", block_layers=(1, 1, 1))
    model = new_model(config, WORDS)
    data = from_tokens(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    for block in range(2):
        output = result_of(block_output(model, block, data, config, "any"))
        signal = exit_signal(model, block, output, exit_method("loss"), config)
        staying = data.active.clone() if data.active is not None else torch.ones(48, 4, dtype=torch.bool)
        staying[staying.clone()] = signal < signal.median()
        entered, data = data, mask_hard_tokens(output, signal, signal.median().item(), config)
        assert torch.equal(data.active, staying)
        assert torch.equal(data.targets, tiny_dataset.train.targets)
        before = entered.states(slice(None)) if exited_state == "input" else output.states
        expected = torch.where(staying[..., None], output.states, before)
        torch.testing.assert_close(data.states(slice(None)), expected)
    assert 0 < data.tokens < 48 * 4 / 3
