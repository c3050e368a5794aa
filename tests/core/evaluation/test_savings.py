"""Savings of early exit: FLOPs, from the exit shares, and time."""

from statistics import fmean

import pytest

from core.config.run_config import build, method_names
from core.costs import ExitCosts, full_flops
from core.data.windows import Dataset
from core.evaluation.evaluate import evaluate, judge
from core.evaluation.savings import with_time
from core.evaluation.timing import FEWEST_ROUNDS
from core.events import Measured, Savings, StageStarted, Step
from core.exits import exit_method
from core.model import Transformer
from core.protocol.train import train
from tests.core.evaluation.plain import middling_thresholds
from tests.core.training import WORDS, MakeConfig, of

EARLY = Measured("evaluation", "early exit", None, "eval", "all", 64, 2.0, 0.1, (0.5, 0.5), 0.25)


@pytest.mark.parametrize("exited_state", ["input", "copy", "drop", "deferred"])
@pytest.mark.parametrize("method", method_names())
def test_savings_count_flops_as_the_tokens_left_and_time_what_can_be_timed(
    method: str, exited_state: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(method, exited_state=exited_state)
    model, windows = Transformer(config.model, WORDS, config.seed), tiny_dataset.evaluation
    thresholds = middling_thresholds(model, tiny_dataset, method)[:1]
    events = list(evaluate(model, thresholds, windows, config, "evaluation"))
    early = next(event for event in of(Measured, events) if event.name == "early exit")
    (saved,) = of(Savings, events)
    size = (config.model, model.embedding.num_embeddings, config.data.seq_len)
    reads_head, learns = exit_method(method).reads_head, exit_method(method).learns
    classifiers = None if learns else (0,)  # a coin, or a cosine of two states, has none to pay for
    cost = ExitCosts(*size, reads_head, exited_state, classifiers)
    per_block = sum(share * each for share, each in zip(early.exit_shares, cost.savings_if_attended, strict=True))
    free = cost.keys_values[1] * early.exit_shares[0] / full_flops(*size)  # of no token at least, of all at most
    assert per_block - 1e-9 <= saved.flops <= per_block + free * (exited_state in ("copy", "deferred")) + 1e-9
    assert saved.flops == pytest.approx(fmean(early.window_flop_savings))
    assert of(StageStarted, events)[0].steps >= len(of(Step, events))
    if exit_method(method).foresees:
        assert (saved.time, saved.rounds) == (None, 0)
    else:
        assert saved.time_low <= saved.time <= saved.time_high < 1
        assert (saved.tokens, saved.rounds) == (windows.targets.numel(), FEWEST_ROUNDS)


def test_without_exits_nothing_is_saved_and_nothing_said(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    assert of(Savings, train(tiny_config(protocol="full_depth"), tiny_dataset)) == []


def test_time_savings_are_the_median_of_the_rounds_with_its_interval() -> None:
    ratios = [0.8, 0.7, 0.9, 0.75, 0.85, 3.0]
    found = with_time(Savings("evaluation", 0.1, None), ratios, 64, "other processes take 1.0 of 2 cores")
    assert (found.time, found.time_low, found.time_high) == pytest.approx((0.175, -2.0, 0.3))
    assert (found.rounds, found.covers) == (6, True)
    warned = [one.message for one in judge(EARLY, [], found, build([]))]
    assert warned == [
        "the machine was busy while time savings were measured, so they may be off: other processes take 1.0 of 2 cores"
    ]
