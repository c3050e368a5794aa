"""LayerSkip's recipe: dropout rates and loss weights are the paper's."""

from math import exp, log

import pytest

from core.config.derived import loss_shares
from core.config.layerskip import dropout_rates, exit_weights, exits_on, mean_predictions, shares_in
from core.config.run_config import RunConfig, build, preset_layer, set_layer


def recipe(*assignments: str) -> RunConfig:
    return build([preset_layer("layerskip"), set_layer("block_layers=2,2,2,2"), *map(set_layer, assignments)])


def test_dropout_rises_exponentially_over_the_layers_and_if_asked_over_the_training() -> None:
    constant, rising = (
        recipe("layer_dropout=0.3", f"dropout_schedule={name}").train for name in ("constant", "rising")
    )
    rates = dropout_rates(constant, 8, 5, 100)
    assert rates == pytest.approx([0.3 * (exp(layer * log(2) / 7) - 1) for layer in range(8)])
    assert (rates[0], rates[7]) == (0, pytest.approx(0.3))
    assert dropout_rates(rising, 8, 40, 100) == pytest.approx([(exp(40 * log(2) / 99) - 1) * rate for rate in rates])
    assert dropout_rates(rising, 8, 0, 100) == (0,) * 8
    assert dropout_rates(rising, 8, 99, 100) == pytest.approx(rates)


def test_an_exit_s_loss_weighs_the_sum_of_the_layers_before_it() -> None:
    assert exit_weights((2, 2, 2, 2), 0.2) == pytest.approx([0.2 * 1, 0.2 * (1 + 2 + 3), 0.2 * 15, 7 + 0.2 * 21])
    assert exit_weights((1, 1, 1), 1.0) == (0, 1, 2 + 1)
    every = shares_in(recipe("exit_curriculum=every"), 3, 10)
    total = 0.2 * (1 + 6 + 15 + 21) + 7
    assert list(every.values()) == pytest.approx([0.2 / total, 1.2 / total, 3 / total, 11.2 / total])
    assert loss_shares(recipe()) == every


def test_exits_take_turns_and_the_last_block_is_always_on() -> None:
    def on(step: int, *assignments: str) -> tuple[bool, ...]:
        config = recipe(*assignments)
        return exits_on(config.train, config.model.block_layers, step, 100)

    assert [on(step) for step in range(4)] == [(step % 3 == 0, step % 3 == 1, step % 3 == 2, True) for step in range(4)]
    assert on(0, "exit_rotation=2") == (True, False, True, True)
    assert on(1, "exit_rotation=2") == (False, True, False, True)
    assert shares_in(recipe(), 0, 100) == pytest.approx({0: 0.2 / 11.4, 1: 0, 2: 0, 3: 11.2 / 11.4})
    # from the last of 8 layers to the first, one every 100 / 16 steps
    gradual = [on(step, "exit_curriculum=gradual") for step in (0, 18, 19, 44, 50)]
    assert gradual == [(0, 0, 0, 1), (0, 0, 0, 1), (0, 0, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)]


@pytest.mark.parametrize("curriculum", ["every", "rotational", "gradual"])
def test_the_mean_number_of_losses_is_that_over_a_training(curriculum: str) -> None:
    config = recipe(f"exit_curriculum={curriculum}")
    counted = [sum(share > 0 for share in shares_in(config, step, 3000).values()) for step in range(3000)]
    assert mean_predictions(config) == pytest.approx(sum(counted) / 3000, abs=2e-3)


def test_a_single_layer_and_a_first_layer_have_weights_too() -> None:
    config = recipe("block_layers=1")
    assert (loss_shares(config), mean_predictions(config)) == ({0: 1.0}, 1)
    assert loss_shares(recipe("block_layers=1,1")) == {0: 0.0, 1: 1.0}
