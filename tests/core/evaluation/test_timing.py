"""Time savings of a model that is large enough to have some."""

import time

import pytest
import torch
from torch import Tensor

from core.config.run_config import Layer, RunConfig, build
from core.data.windows import Windows
from core.early_exit.masked import Walk, early_exit_states
from core.early_exit.skipping import skipping_states
from core.evaluation import timing
from core.evaluation.timing import FEWEST_ROUNDS, NARROW, SECONDS, TimeSavings, enough, fastest_full_pass, time_savings
from core.model import ExitedState, Transformer, new_model


def config(**values: object) -> RunConfig:
    deep = {
        "method": "random", "block_layers": (1, 7), "dim": 128, "ffn_dim": 512, "seq_len": 32, "batch_size": 16,
        "norm": "pre", "exited_state": "copy", "device": "cpu", "threads": 1,
    }  # fmt: skip
    return build([Layer("test", {**deep, **values})])


def windows() -> Windows:
    token_ids = torch.randint(50, (16, 33), generator=torch.Generator().manual_seed(0))
    return Windows(token_ids[:, :-1], token_ids[:, 1:])


@pytest.mark.parametrize("exited_state", ["copy", "drop"])
def test_most_tokens_leaving_early_saves_most_of_the_time(exited_state: str) -> None:
    run = config(exited_state=exited_state)
    measured = time_savings(new_model(run, 50), [0.1], windows(), run, rounds=3)
    assert measured.rounds == 3
    assert 0 < measured.low <= measured.ratio <= measured.high
    assert measured.ratio < 0.7
    assert measured.savings == 1 - measured.ratio
    assert measured.speed_up == 1 / measured.ratio


def test_with_exited_state_input_next_to_nothing_is_saved() -> None:
    run = config(exited_state="input")
    assert time_savings(new_model(run, 50), [0.1], windows(), run, rounds=3).ratio > 0.7


def slow(model: Transformer, token_ids: Tensor, exited_state: ExitedState) -> Walk:
    time.sleep(0.2)
    return early_exit_states(model, token_ids, exited_state)


def test_the_full_model_goes_its_fastest_way() -> None:
    run = config()
    assert fastest_full_pass(new_model(run, 50), windows(), run, (slow, skipping_states)) is skipping_states
    assert fastest_full_pass(new_model(run, 50), windows(), run, (early_exit_states, slow)) is early_exit_states


def test_a_ratio_above_one_is_a_loss_of_time() -> None:
    assert TimeSavings(1.25, 1.2, 1.3, 5).savings == -0.25


def test_rounds_go_on_until_the_interval_is_narrow_or_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS", SECONDS)
    steady, wild = [0.8, 0.8 + NARROW / 2], [0.5, 1.5]
    assert not enough(steady * 2, 1.0)
    assert enough(steady * 3, 1.0)
    assert len(steady * 3) == FEWEST_ROUNDS
    assert not enough(wild * 20, SECONDS - 1)
    assert enough(wild * 3, SECONDS)
