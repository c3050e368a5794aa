"""The waterfall of a perplexity: each step compared with plain arithmetic, and all of them with the total."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest

from core import intervals
from core.analysis.diagnosis import Diagnosis, diagnose, hard_tokens_way, oracle_loss, target_shares
from core.analysis.token_table import TokenTable, token_table
from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.errors import UsageError
from core.events import Event, Measured, TokensMeasured, Way
from core.protocol.train import train
from core.state import RunState, reduce_all
from tests.core.analysis.tables import bare_table, text_of

MakeConfig = Callable[..., RunConfig]
EXACT = 1e-9


def trained(
    config: RunConfig, dataset: Dataset
) -> tuple[TokenTable, RunState, Callable[[Way, int | None], Sequence[float]]]:
    """Statistics, state and window losses of a run, as read from the store."""
    events: list[Event] = list(train(config, dataset))
    blocks = [event for event in events if isinstance(event, TokensMeasured)]
    table = token_table(blocks, text_of(dataset.evaluation), 4)
    found = {(event.way, event.block): event.window_losses for event in events if isinstance(event, Measured)}
    return table, reduce_all(RunState(), events), lambda way, block: found[way, block]


def diagnosed(config: RunConfig, dataset: Dataset) -> tuple[Diagnosis, TokenTable, RunState]:
    tokens, state, windows = trained(config, dataset)
    return diagnose(tokens, state, windows, config), tokens, state


def measure(state: RunState, way: Way, block: int | None = None) -> float:
    measured = state.measure(way, block)
    assert measured is not None
    return measured.loss


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"method": "softmax"},
        {"method": "gain"},
        {"block_layers": (1, 1, 1), "hard_ratio": 0.7},
        {"block_layers": (1, 1, 1), "hard_ratio": 0.7, "hard_tokens": "mask", "exited_state": "drop"},
        {"block_layers": (1,)},
        {"protocol": "joint"},
        {"protocol": "full_depth"},
        {"train_embedding": True, "tie_embedding": True, "calibration": "heldout", "norm": "pre"},
    ],
    ids=str,
)
def test_the_steps_sum_to_the_way_from_training_to_early_exit(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(**values)
    found, _, state = diagnosed(config, tiny_dataset)
    stage = next(stage for stage in state.stages if stage.kind == "lm")
    assert stage.best is not None
    total = measure(state, "early exit") - (stage.best.val_loss or 0)
    assert sum(step.nats for step in found.waterfall.steps) == pytest.approx(total, abs=EXACT)
    assert found.waterfall.total == pytest.approx(total, abs=EXACT)
    for before, after in zip(found.waterfall.steps, found.waterfall.steps[1:], strict=False):
        assert before.after == after.before


def test_every_step_is_what_the_measurements_say(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    found, tokens, state = diagnosed(tiny_config("softmax", max_epochs=6), tiny_dataset)
    first, last = tokens.cross_entropy.astype(np.float64).mean(axis=1)
    stage = state.stage("hard tokens", 0)
    assert stage is not None
    assert stage.threshold is not None
    leaves = tokens.signal[0] >= stage.threshold.threshold
    rate = leaves.mean()
    expected = {
        "split gap": measure(state, "as trained", 0),
        "head drift": measure(state, "alone", 0),
        "depth": (first + last) / 2,
        "exit rate": rate * first + (1 - rate) * last,
        "exit decisions": np.where(leaves, *tokens.cross_entropy).mean(dtype=np.float64),
        "exited state": measure(state, "early exit"),
    }
    assert {step.name: step.after for step in found.waterfall.steps} == pytest.approx(expected, abs=1e-6)
    assert found.exit_shares == pytest.approx((rate, 1 - rate))


def test_a_frozen_head_does_not_drift_and_a_shared_one_does(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    drift = {
        head: next(
            step for step in diagnosed(tiny_config(head=head), tiny_dataset)[0].waterfall.steps if step.block == 0
        )
        for head in ("shared", "frozen", "per_block")
    }
    assert drift["frozen"].nats == pytest.approx(0, abs=1e-7)
    assert drift["per_block"].nats == pytest.approx(0, abs=1e-7)
    assert abs(drift["shared"].nats) > 1e-4


def test_later_heads_drift_as_far_as_tokens_leave_there(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = tiny_config(block_layers=(1, 1, 1), hard_ratio=0.7)
    found, _, state = diagnosed(config, tiny_dataset)
    drifts = [step for step in found.waterfall.steps if step.name == "head drift"]
    assert [step.block for step in drifts] == [0, 1]
    alone, as_trained = (measure(state, way, 1) for way in ("alone", "as trained"))
    assert drifts[1].nats == pytest.approx(found.exit_shares[1] * (alone - as_trained), abs=1e-6)


def test_copied_states_of_a_causal_first_block_make_no_mismatch_where_nobody_leaves(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    tokens, state, windows = trained(tiny_config(exited_state="copy"), tiny_dataset)
    nobody = replace(tokens, signal=np.zeros_like(tokens.signal))
    full = replace(state, measured=tuple(
        replace(found, way="early exit") if found.way == "all blocks" else found
        for found in state.measured if found.way != "early exit"
    ))  # fmt: skip
    found = diagnose(nobody, full, windows, tiny_config(exited_state="copy"))
    assert found.exit_shares == (0, 1)
    assert found.share_of_possible is None
    assert [step.nats for step in found.waterfall.steps[-2:]] == pytest.approx([0, 0], abs=1e-6)


@pytest.fixture
def few_windows_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give intervals to the handful of windows of these tests."""
    monkeypatch.setattr(intervals, "SMALLEST_BLOCK", 1)
    monkeypatch.setattr(intervals, "FEWEST_BLOCKS", 2)


@pytest.mark.usefixtures("few_windows_do")
def test_intervals_are_around_their_step_where_the_windows_are_the_same(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    tokens, state, windows = trained(tiny_config(), tiny_dataset)
    steps = diagnose(tokens, state, windows, tiny_config()).waterfall.steps
    assert steps[0].interval is None
    for step in steps[1:]:
        assert step.interval is not None
        assert step.interval[0] - 1e-6 <= step.nats <= step.interval[1] + 1e-6
    unkept = diagnose(tokens, state, lambda way, block: (), tiny_config()).waterfall.steps
    assert [step.nats for step in unkept] == [step.nats for step in steps]
    assert [step.interval is None for step in unkept] == [True, True, False, False, False, True]


def test_random_exits_are_the_mean_over_all_choices() -> None:
    loss = np.random.default_rng(0).random((2, 6))
    chosen = [np.isin(np.arange(6), leaving) for leaving in combinations(range(6), 2)]
    mean = np.mean([np.where(leaves, *loss).mean() for leaves in chosen])
    assert np.array([2, 4]) / 6 @ loss.mean(axis=1) == pytest.approx(mean)


def test_the_oracle_at_a_rate_is_the_best_of_all_choices() -> None:
    draw = np.random.default_rng(0)
    for counts in ((2, 4), (6, 0), (0, 6)):
        loss = draw.random((2, 6))
        leave = [np.isin(np.arange(6), leaving) for leaving in combinations(range(6), counts[0])]
        best = min(np.where(leaves, *loss).mean() for leaves in leave)
        assert oracle_loss(loss, np.array(counts) / 6) == pytest.approx(best)


def test_the_oracle_of_three_blocks_is_a_bound_close_to_the_best_choice() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        loss = draw.random((3, 7))
        choices = set(permutations((0, 0, 1, 1, 1, 2, 2)))
        best = min(loss[list(choice), range(7)].mean() for choice in choices)
        assert best - 0.1 < oracle_loss(loss, np.array([2, 3, 2]) / 7) <= best + EXACT


def test_target_shares_follow_from_the_hard_ratio(tiny_config: MakeConfig) -> None:
    assert target_shares(RunState(), tiny_config(block_layers=(1, 1, 1), hard_ratio=0.25)) == pytest.approx(
        [0.75, 0.1875, 0.0625]
    )


@pytest.mark.usefixtures("few_windows_do")
def test_the_last_blocks_way_is_over_the_kept_tokens_alone() -> None:
    tokens = bare_table(np.zeros((2, 8)), np.zeros((1, 8)))
    kept = np.array([0, 2, 3, 5])
    way = hard_tokens_way(
        1.0, kept, {"split gap": np.array([1, 2, 3, 4.0]), "lost context": np.array([2, 3, 4, 5.0])}, tokens
    )
    assert way.share == 0.5
    assert [step.after for step in way.waterfall.steps] == [2.5, 3.5]
    interval = way.waterfall.steps[1].interval
    assert interval is not None
    assert interval[0] <= 1 <= interval[1]


def test_a_run_that_did_not_finish_is_told_so(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    tokens, state, _ = trained(tiny_config(), tiny_dataset)
    for broken in (replace(state, stages=()), replace(state, measured=()), replace(state, stages=state.stages[:1])):
        with pytest.raises(UsageError, match="only a finished run"):
            diagnose(tokens, broken, lambda way, block: (), tiny_config())
