"""Exits that look ahead: fitted again, and set, once all blocks are trained."""

import pytest
import torch
import torch.nn.functional as F

from core.data.windows import Dataset
from core.events import Threshold
from core.protocol.train import first_data
from core.state import RunState, reduce
from tests.core.training import SOUND, MakeConfig, of, stage_names, trained


def test_a_method_that_looks_ahead_is_fitted_again_once_all_blocks_are_trained(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config("gain", **{**SOUND, "block_layers": (1, 1, 1)})
    assert stage_names(config) == (
        *("block0.lm", "block0.statistics", "block0.exit", "block0.hard"),
        *("block1.lm", "block1.statistics", "block1.exit", "block1.hard"),
        *("block2.lm", "block2.statistics"),
        *("block0.ahead", "block0.refit", "block0.threshold", "block1.ahead", "block1.refit", "block1.threshold"),
        "evaluation",
    )
    events, model = trained(config, tiny_dataset)
    loss_events, _ = trained(config.model_copy(update={"method": "loss"}), tiny_dataset)
    before, after = ({event.stage: event for event in of(Threshold, run)} for run in (loss_events, events))
    for stage in ("block0.hard", "block1.hard"):
        assert before[stage] == after[stage]
    windows = first_data(model, tiny_dataset.train, config).calibration
    with torch.no_grad():
        states, losses = windows.states(slice(None)), []
        for depth, block in enumerate(model.blocks):
            states = block(states)
            hidden = model.readout(depth, states).flatten(0, 1)
            if depth == 0:
                signal = model.classifier(0)(hidden).sigmoid()
                first = hidden
            logits = hidden @ model.head_weight(depth).T
            losses.append(F.cross_entropy(logits, windows.targets.flatten(), reduction="none"))
    state = RunState()
    for event in events:
        state = reduce(state, event)
    shown = state.stage("hard tokens", 0)
    assert shown is not None
    assert shown.threshold == after["block0.threshold"]
    assert after["block0.threshold"].threshold == pytest.approx(torch.quantile(signal, 0.5).item(), rel=1e-5)
    assert after["block1.threshold"].tokens == after["block0.threshold"].hard_tokens
    rows = torch.cat([first, torch.ones(len(first), 1)], 1).double()
    solution = torch.linalg.lstsq(rows, (losses[1] - losses[0]).double()[:, None]).solution[:, 0]
    torch.testing.assert_close(signal.logit().double(), rows @ solution, rtol=0.02, atol=0.02)
