"""Combinations of the protocol's switches: all of them train."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config.run_config import method_names
from core.data.windows import Dataset
from core.errors import NoHardTokensError
from core.events import Event, Measured, StageStarted, Threshold
from tests.core.training import SOUND, MakeConfig, of, stage_names, trained

switches = st.fixed_dictionaries(
    {
        "method": st.sampled_from(method_names()),
        "protocol": st.sampled_from(["staged", "staged", "joint", "full_depth"]),
        "norm": st.sampled_from(["post", "pre"]),
        "dropout": st.sampled_from([0.0, 0.3]),
        "train_embedding": st.booleans(),
        "tie_embedding": st.booleans(),
        "head": st.sampled_from(["shared", "frozen", "per_block"]),
        "split": st.sampled_from(["random_windows", "contiguous"]),
        "later_init": st.sampled_from(["random", "identity"]),
        "warmup_steps": st.sampled_from([0, 3]),
        "decay": st.sampled_from(["constant", "cosine"]),
        "label_smoothing": st.sampled_from([0.0, 0.1]),
        "exit_classifier_mode": st.sampled_from(["post", "joint"]),
        "last_exit": st.booleans(),
        "hard_tokens": st.sampled_from(["repack", "mask"]),
        "calibration": st.sampled_from(["train", "heldout"]),
        "exited_state": st.sampled_from(["input", "copy", "drop", "deferred"]),
        "classifier_fit": st.sampled_from(["adam", "lbfgs"]),
        "block_layers": st.sampled_from([(1,), (1, 1), (1, 1, 1)]),
        "causal": st.booleans(),
    }
)


def numbers(event: Event) -> Iterator[float]:
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        yield from (number for number in (value if isinstance(value, tuple) else (value,)) if isinstance(number, float))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=switches)
@pytest.mark.soak
def test_any_switches_go_together_and_give_finite_figures_and_a_model(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    values["tie_embedding"] = values["tie_embedding"] and values["train_embedding"]
    if values["protocol"] == "full_depth" and values["head"] == "per_block":
        values["head"] = "shared"
    config = tiny_config(**values, calibration_ratio=0.25, max_epochs=1)
    try:
        events, model = trained(config, tiny_dataset)
    except NoHardTokensError:
        return
    assert all(math.isfinite(number) for event in events for number in numbers(event))
    assert tuple(event.stage for event in of(StageStarted, events)) == stage_names(config)
    found = {event.name: event for event in of(Measured, events)}
    with torch.no_grad():
        states = model.embed(tiny_dataset.evaluation.inputs)
        for depth, block in enumerate(model.blocks):
            states = block(states)
            logits = model.readout(depth, states).flatten(0, 1) @ model.head_weight(depth).T
            loss = F.cross_entropy(logits, tiny_dataset.evaluation.targets.flatten()).item()
            name = "all blocks" if depth == len(model.blocks) - 1 else f"block {depth} alone"
            assert found[name].loss == pytest.approx(loss, rel=1e-5)
    assert (
        found["oracle"].loss <= min(found[name].loss for name in found if name.endswith(("alone", "all blocks"))) + 1e-9
    )


@pytest.mark.parametrize("protocol", ["staged", "joint", "full_depth"])
def test_a_sound_run_is_the_same_each_time(protocol: str, tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = tiny_config(protocol=protocol, **SOUND)
    torch.manual_seed(1)
    first, one = trained(config, tiny_dataset)
    torch.manual_seed(2)
    second, other = trained(config, tiny_dataset)
    assert of(Measured, first) == of(Measured, second)
    assert of(Threshold, first) == of(Threshold, second)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
