"""An evaluation: statistics of every token, and warnings."""

from dataclasses import replace

import pytest
import torch

from core.config.run_config import method_names
from core.data.windows import Dataset
from core.evaluation.evaluate import LARGEST_RATE_GAP, evaluate, judge
from core.evaluation.passes import Pass, early_exit, static_depths
from core.events import Measured, Savings, TokensMeasured, Warned
from core.model import Transformer
from core.pricing.policy import Outcome
from tests.core.evaluation.plain import floats, middling_thresholds, static_signals
from tests.core.training import WORDS, MakeConfig, of

EARLY = Measured("evaluation", "early exit", None, "eval", "all", 64, 2.0, 0.1, (0.5, 0.5), 0.25)
SAVED = Savings("evaluation", 0.2, 0.1)


@pytest.mark.parametrize("method", method_names())
@torch.no_grad()
def test_statistics_of_every_token_are_those_of_the_static_pass_and_decide_as_early_exit_does(
    method: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(method, block_layers=(1, 2, 1))
    model = Transformer(config.model, WORDS, config.seed)
    windows, batches = tiny_dataset.evaluation, (slice(0, 8), slice(8, 16))
    medians = middling_thresholds(model, tiny_dataset, method)
    thresholds = [
        torch.tensor(median).item() for median in medians
    ]  # float32, as `quantile` gives: a token's own signal
    events = of(TokensMeasured, evaluate(model, thresholds, windows, config, "evaluation"))
    assert [event.block for event in events] == [0, 1, 2]
    states, early = model.embedding(windows.inputs), Pass.empty(windows.targets)
    for block, event in zip(model.blocks, events, strict=True):
        states = block(states)
        logits = model.head(states).flatten(0, 1)
        losses = torch.nn.functional.cross_entropy(logits, windows.targets.flatten(), reduction="none")
        torch.testing.assert_close(floats(event.cross_entropy), losses)
        torch.testing.assert_close(floats(event.max_prob), logits.softmax(1).max(1).values)
        assert torch.frombuffer(bytearray(event.prediction), dtype=torch.int32).tolist() == logits.argmax(1).tolist()
        if event.block < 2:
            torch.testing.assert_close(floats(event.signal), static_signals(model, tiny_dataset, method)[event.block])
    assert events[-1].signal == b""
    for batch in batches:
        foreseen = [seen.known for seen in static_depths(model, windows, batch, 3, config)]
        early_exit(model, thresholds, windows, batch, early, config, foreseen)
    leaves = [signal >= thresholds[0] for signal in floats(events[0].signal).tolist()]
    assert leaves == (early.left_at == 0).flatten().tolist()
    assert 0 < sum(leaves) < len(leaves)


@pytest.mark.parametrize(
    ("shares", "warned"), [((0.5, 0.5), 0), ((0.54, 0.46), 0), ((0.56, 0.44), 1), ((0.44, 0.56), 1)]
)
def test_an_exit_rate_far_from_its_target_is_a_warning(
    shares: tuple[float, ...], warned: int, tiny_config: MakeConfig
) -> None:
    assert LARGEST_RATE_GAP == 0.05
    warnings = list(judge(replace(EARLY, exit_shares=shares), [], SAVED, tiny_config(hard_ratio=0.5)))
    assert len(warnings) == warned
    assert all("50.0%" in warning.message for warning in warnings)


def test_savings_off_what_a_price_was_set_for_are_told_in_what_it_pays_for(tiny_config: MakeConfig) -> None:
    promised = Outcome(0.1, (0.5,), (0.5, 0.5), 3.0, savings=SAVED.flops + 0.1)
    config = tiny_config(policy="savings", cost="flops", exited_state="copy")
    (warned,) = judge(replace(EARLY, window_losses=()), [], SAVED, config, promised)
    assert warned.message.startswith(f"{SAVED.flops:.1%} of the FLOPs were saved")
    promised, deferred = replace(promised, savings=1.0), tiny_config(policy="savings", exited_state="deferred")
    (warned,) = judge(replace(EARLY, window_losses=()), [], SAVED, deferred, promised)
    assert "saves only what no later token needed" in warned.message


@pytest.mark.parametrize(
    ("loss", "savings", "warned"),
    [
        (1.9, 0.25, 1),
        (2.0, 0.5, 1),
        (2.0 + 1e-7, 0.5, 1),
        (2.0 + 1e-5, 0.5, 0),
        (2.1, 0.5, 0),
        (1.9, 0.24, 1),
        (1.9, 0.2, 0),
    ],
)
def test_early_exit_that_loses_to_a_static_depth_as_cheap_is_a_warning(
    loss: float, savings: float, warned: int, tiny_config: MakeConfig
) -> None:
    static = replace(EARLY, way="alone", block=0, loss=loss, layer_savings=savings)
    warnings = list(judge(EARLY, [static], SAVED, tiny_config(hard_ratio=0.5)))
    assert len(warnings) == warned
    verb = "loses to" if loss < EARLY.loss else "does no better than"
    assert all(f"{verb} block 0 alone" in warning.message for warning in warnings)


@pytest.mark.parametrize(("spread", "warned"), [(0.01, 1), (1.0, 0)])
def test_a_static_depth_that_is_better_by_no_clear_difference_is_no_warning(
    spread: float, warned: int, tiny_config: MakeConfig
) -> None:
    noise = torch.randn(64, generator=torch.Generator().manual_seed(1))
    early = replace(EARLY, window_losses=(2.0,) * 64)
    windows = tuple((1.9 + spread * (noise - noise.mean())).tolist())
    static = replace(EARLY, way="alone", block=0, loss=1.9, layer_savings=0.5, window_losses=windows)
    assert len(list(judge(early, [static], SAVED, tiny_config(hard_ratio=0.5)))) == warned
    for rounded in (-1e-7, 1e-7):  # as if all tokens leave at block 0
        equal = replace(static, loss=2.0 + rounded, window_losses=(2.0 + rounded,) * 64)
        (warning,) = judge(early, [equal], SAVED, tiny_config(hard_ratio=0.5))
        assert "does no better than block 0 alone" in warning.message


@pytest.mark.parametrize(
    ("saved", "warning"),
    [
        (Savings("evaluation", -0.005, None), None),
        (Savings("evaluation", -0.182, None), "early exit costs 18.2% more FLOPs than never exiting"),
        (
            Savings("evaluation", -0.182, 0.8925),
            "early exit costs 18.2% more FLOPs than never exiting; they break even at 89.2% leaving early",
        ),
    ],
)
def test_exits_that_cost_more_than_they_save_are_a_warning(
    saved: Savings, warning: str | None, tiny_config: MakeConfig
) -> None:
    hard_ratio = 1 - EARLY.shallow_ratio
    found = [warned.message for warned in judge(EARLY, [], saved, tiny_config(hard_ratio=hard_ratio))]
    assert found == ([warning] if warning else [])


@pytest.mark.parametrize("state", ["copy", "drop", "deferred"])
@torch.no_grad()
def test_what_the_states_of_exited_tokens_cost_is_a_warning(
    state: str, tiny_config: MakeConfig, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.evaluation.evaluate.LARGEST_STATE_COST", -1.0)
    config = tiny_config("softmax", exited_state=state, block_layers=(1, 2, 1))
    model, windows = Transformer(config.model, WORDS, config.seed), tiny_dataset.evaluation
    thresholds = [torch.tensor(median).item() for median in middling_thresholds(model, tiny_dataset, "softmax")]
    events = list(evaluate(model, thresholds, windows, config, "evaluation"))
    early = Pass.empty(windows.targets)
    for batch in (slice(0, 8), slice(8, 16)):
        foreseen = [seen.known for seen in static_depths(model, windows, batch, 3, config)]
        early_exit(model, thresholds, windows, batch, early, config, foreseen)
    exact = torch.stack([floats(event.cross_entropy) for event in of(TokensMeasured, events)]).view(
        3, *early.left_at.shape
    )
    cost = float((early.cross_entropy - exact.gather(0, early.left_at[None])).mean())
    said = [event.message for event in events if isinstance(event, Warned) and "exited_state" in event.message]
    assert said == [] if state == "deferred" else f"exited_state={state} costs {cost:.3f} nats" in said[0]
    assert abs(cost) < 1e-6 if state == "deferred" else abs(cost) > 1e-4
