"""The staged protocol: the stages' order, the numbers they give, and that siblings can share them."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.config.run_config import RunConfig, method_names
from core.costs import ExitCosts, full_flops
from core.data.windows import Dataset, Windows
from core.errors import DivergedError, NoHardTokensError
from core.evaluation.evaluate import LARGEST_RATE_GAP, evaluate, judge
from core.evaluation.passes import Pass, early_exit, static_depths
from core.evaluation.timing import ROUNDS
from core.events import (
    Epoch,
    Event,
    Measured,
    RunFinished,
    RunStarted,
    Savings,
    StageEnded,
    StageStarted,
    Step,
    Threshold,
    TokensMeasured,
    Warned,
)
from core.exits._contract import Observation
from core.exits._load import exit_method
from core.head.token_statistics import TokenStatistics
from core.model import Transformer
from core.protocol.train import StageMemory, planned_stages, train
from core.rng import stream
from core.stages.block_data import from_words
from core.stages.hard_tokens import exit_signal, pack_hard_tokens, quantile, set_threshold
from core.stages.lm import train_block
from core.stages.splits import split_windows
from core.stages.statistics import BlockOutput, block_output

MakeConfig = Callable[..., RunConfig]
DIM, WORDS, SEED = 8, 30, 42
LOSS = exit_method("loss")


def numbers(events: Iterable[Event]) -> list[Event]:
    """What must be the same each time: everything but steps, clocks and who computed it."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, RunStarted):
            found.append(replace(event, peak_flops=None))
        elif isinstance(event, StageStarted):
            found.append(replace(event, reused=False))
        elif isinstance(event, StageEnded | Epoch):
            found.append(replace(event, seconds=0.0))
        elif isinstance(event, Savings):
            found.append(replace(event, time=None, time_low=None, time_high=None))
        elif not isinstance(event, Step | RunFinished):
            found.append(event)
    return found


def of(kind: type, events: Iterable[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def result_of(stage: Any) -> Any:
    """What a stage returns once its events are drained."""
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value


# ---------------------------------------------------------------- the order of things


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("block_layers", [(1,), (1, 1), (1, 1, 1)])
def test_exactly_the_planned_stages_happen_in_their_order(
    method: str, block_layers: tuple[int, ...], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(method, block_layers=block_layers, max_epochs=1)
    events = list(train(config, tiny_dataset))
    begun = tuple(event.stage for event in of(StageStarted, events))
    assert begun == tuple(event.stage for event in of(StageEnded, events)) == planned_stages(config)
    assert isinstance(events[0], RunStarted)
    assert events[0].stages == planned_stages(config)
    assert isinstance(events[-1], RunFinished)
    assert len(of(RunFinished, events)) == len(of(RunStarted, events)) == 1


def test_every_stage_s_events_lie_between_its_start_and_its_end(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    current = None
    for event in train(tiny_config(), tiny_dataset):
        if isinstance(event, StageStarted):
            assert current is None
            current = event.stage
        elif isinstance(event, Step | Epoch | Threshold | Measured | StageEnded):
            assert event.stage == current
            current = None if isinstance(event, StageEnded) else current
    assert current is None


def test_a_learned_exit_has_these_stages_and_softmax_has_none_to_fit(tiny_config: MakeConfig) -> None:
    assert planned_stages(tiny_config("loss")) == (
        *("block0.lm", "block0.statistics", "block0.exit", "block0.hard"),
        *("block1.lm", "block1.statistics", "block1.exit", "block1.hard"),
        "evaluation",
    )
    assert not any(stage.endswith(".exit") for stage in planned_stages(tiny_config("softmax")))


def test_the_last_exit_can_be_left_out_and_changes_no_result(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    with_it = list(train(tiny_config(), tiny_dataset))
    without = list(train(tiny_config(last_exit=False), tiny_dataset))
    assert not {"block1.exit", "block1.hard"} & {event.stage for event in of(StageStarted, without)}
    assert of(Measured, with_it) == of(Measured, without)


def test_the_run_says_on_how_much_it_trains(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    started = next(train(tiny_config(), tiny_dataset))
    assert isinstance(started, RunStarted)
    assert (started.train_tokens, started.eval_tokens, started.vocab_size) == (48 * 4, 16 * 4, WORDS)
    layer = 4 * DIM * DIM + 3 * DIM * 12 + 2 * DIM
    assert started.parameters == 2 * WORDS * DIM + 2 * (layer + DIM + 1)


# ---------------------------------------------------------------- the same numbers each time


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("first", ["loss", "entropy", "gain"])
def test_a_run_that_reuses_block_0_equals_bit_for_bit_the_run_that_trains_it(
    first: str, method: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    memory = StageMemory()
    list(train(tiny_config(first), tiny_dataset, memory))
    shared = list(train(tiny_config(method), tiny_dataset, memory))
    alone = list(train(tiny_config(method), tiny_dataset))
    stages = ["block0.lm", "block0.statistics"]
    if exit_method(first).extras or exit_method(method).extras:  # not every method makes the same statistics
        stages.remove("block0.statistics")
    assert [event.stage for event in of(StageStarted, shared) if event.reused] == stages
    assert not any(event.reused for event in of(StageStarted, alone))
    assert numbers(shared) == numbers(alone)


def test_the_same_config_gives_the_same_numbers(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    torch.manual_seed(1)
    first = list(train(tiny_config(), tiny_dataset))
    torch.manual_seed(2)
    again = list(train(tiny_config(), tiny_dataset))
    assert numbers(first) == numbers(again)
    assert [event.loss for event in of(Step, first)] == [event.loss for event in of(Step, again)]


def test_another_seed_gives_other_numbers(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    assert numbers(train(tiny_config(seed=1), tiny_dataset)) != numbers(train(tiny_config(seed=2), tiny_dataset))


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.02}, {"block_layers": (2, 1)}, {"batch_size": 4}])
def test_block_0_is_not_reused_where_it_would_differ(
    change: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    memory = StageMemory()
    list(train(tiny_config(), tiny_dataset, memory))
    events = list(train(tiny_config(**change), tiny_dataset, memory))
    assert not any(event.reused for event in of(StageStarted, events))


def test_block_0_is_not_reused_on_another_corpus(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    memory = StageMemory()
    list(train(tiny_config(), tiny_dataset, memory))
    events = train(tiny_config(), replace(tiny_dataset, fingerprint="another"), memory)
    assert not any(event.reused for event in of(StageStarted, events))


def test_block_0_is_not_reused_between_methods_that_train_a_classifier_along(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    memory = StageMemory()
    list(train(tiny_config("distill", exit_classifier_mode="joint"), tiny_dataset, memory))
    shared = list(train(tiny_config("loss", exit_classifier_mode="joint"), tiny_dataset, memory))
    alone = list(train(tiny_config("loss", exit_classifier_mode="joint"), tiny_dataset))
    assert numbers(shared) == numbers(alone)
    assert not any(event.reused for event in of(StageStarted, shared))


def test_random_streams_depend_on_seed_and_name_alone() -> None:
    draws = {
        names: torch.rand(3, generator=stream(*names)).tolist() for names in [(1, "a"), (1, "b"), (2, "a"), (1, "a", 2)]
    }
    assert len({tuple(draw) for draw in draws.values()}) == 4
    assert torch.rand(3, generator=stream(1, "a")).tolist() == draws[1, "a"]


# ---------------------------------------------------------------- LM training


def test_training_lowers_the_loss_and_the_best_weights_are_kept(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = tiny_config(max_epochs=30, lr=0.03)
    model = Transformer(config.model, WORDS, config.seed)
    data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    events = list(train_block(model, 0, data, config, "block0.lm"))
    epochs = of(Epoch, events)
    best = min(epochs, key=lambda epoch: epoch.val_loss)
    assert epochs[-1].loss < epochs[0].loss
    assert best is not epochs[-1]
    assert [epoch for epoch in epochs if epoch.improved][-1] == best
    assert len(epochs) == best.epoch + config.train.patience
    _, held_out = split_windows(48, config, "block0.lm", torch.device("cpu"))
    hidden = model.blocks[0](data.states(held_out)).flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(model.head(hidden), data.targets[held_out].flatten())
    assert loss.item() == pytest.approx(best.val_loss, rel=1e-5)


def test_one_epoch_is_adamw_on_summed_loss_with_clipped_gradients(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(max_epochs=1, dtype="float64")
    trained, plain = (Transformer(config.model, WORDS, config.seed).double() for _ in range(2))
    inputs, targets = tiny_dataset.train.inputs, tiny_dataset.train.targets
    list(train_block(trained, 0, from_words(trained, inputs, targets), config, "block0.lm"))
    windows, _ = split_windows(48, config, "block0.lm", torch.device("cpu"))
    order = windows[torch.randperm(len(windows), generator=stream(config.seed, "block0.lm", "batches", 1))]
    weights = [*plain.blocks[0].parameters(), *plain.head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=config.train.lr)
    for batch in order.split(config.train.batch_size):
        logits = plain.head(plain.blocks[0](plain.embedding(inputs[batch])))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[batch].flatten(), reduction="sum").backward()
        torch.nn.utils.clip_grad_norm_(weights, config.train.grad_clip)
        optimizer.step()
    torch.testing.assert_close(trained.state_dict(), plain.state_dict(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("windows", [2, 3, 10, 48])
def test_the_early_stopping_split_shares_no_window_with_training(windows: int, tiny_config: MakeConfig) -> None:
    training, held_out = split_windows(windows, tiny_config(), "block0.lm", torch.device("cpu"))
    assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(windows))
    assert len(held_out) == max(1, int(windows * 0.2))
    assert len(training) > 0


def test_a_learning_rate_that_is_far_too_high_is_a_diverged_error(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    with pytest.raises(DivergedError, match=r"block0\.lm diverged in epoch 1.*lower train\.lr"):
        list(train(tiny_config(lr=1e37), tiny_dataset))


def test_joint_mode_fits_the_classifier_along_with_the_block(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = tiny_config("loss", exit_classifier_mode="joint")
    events = list(train(config, tiny_dataset))
    assert not any(event.kind == "exit classifier" for event in of(StageStarted, events))
    epochs = of(Epoch, events)
    assert {epoch.stage for epoch in epochs} == {"block0.lm", "block1.lm"}
    assert all(epoch.exit_loss > 0 and 0 < epoch.avg_label < 1 for epoch in epochs)


def test_post_mode_reports_label_and_exit_loss_in_a_stage_of_its_own(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    epochs = of(Epoch, train(tiny_config("loss"), tiny_dataset))
    for epoch in epochs:
        fitted = epoch.stage.endswith(".exit")
        assert (epoch.exit_loss is not None, epoch.avg_label is not None, epoch.val_loss is None) == (fitted,) * 3
    assert len([epoch for epoch in epochs if epoch.stage == "block0.exit"]) == 2


# ---------------------------------------------------------------- threshold and hard tokens


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.77, 0.95])
@pytest.mark.parametrize("tokens", [1, 2, 3, 10, 101])
def test_the_threshold_is_torch_s_quantile(tokens: int, share: float) -> None:
    signal = torch.rand(tokens, generator=torch.Generator().manual_seed(tokens), dtype=torch.float64)
    assert quantile(signal, share) == pytest.approx(torch.quantile(signal, share).item(), rel=1e-12)


def test_a_threshold_is_a_number_that_the_signal_s_type_can_hold() -> None:
    """Else the model, which rounds it to that type, and a reader of stored signals could disagree on a token."""
    low = torch.tensor(0.3)
    signal = torch.stack([low, low.nextafter(torch.tensor(1.0))])
    for share in (0.2, 0.5, 0.8):
        value = quantile(signal, share)
        assert torch.tensor(value, dtype=torch.float32).item() == value
        assert [number >= value for number in signal.tolist()] == (signal >= value).tolist()


@pytest.fixture
def output(tiny_config: MakeConfig, tiny_dataset: Dataset) -> tuple[Transformer, BlockOutput, RunConfig]:
    config = tiny_config(hard_ratio=0.4)
    model = Transformer(config.model, WORDS, config.seed)
    data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    return model, result_of(block_output(model, 0, data, config, "block0.statistics")), config


def test_a_block_s_output_is_that_of_its_forward_pass(
    output: tuple[Transformer, BlockOutput, RunConfig], tiny_dataset: Dataset
) -> None:
    model, found, _ = output
    with torch.no_grad():
        states = model.blocks[0](model.embedding(tiny_dataset.train.inputs))
        logits = model.head(states).flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(logits, tiny_dataset.train.targets.flatten(), reduction="none")
    torch.testing.assert_close(found.states, states)
    torch.testing.assert_close(found.statistics.cross_entropy, losses)
    torch.testing.assert_close(found.statistics.max_prob, logits.softmax(1).max(1).values)


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


def test_too_few_hard_tokens_end_the_run(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    with pytest.raises(NoHardTokensError, match=r"raise exit\.hard_ratio"):
        list(train(tiny_config(hard_ratio=0.02), tiny_dataset))


def test_a_later_block_trains_on_the_hard_tokens(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    events = list(train(tiny_config(hard_ratio=0.5), tiny_dataset))
    threshold = of(Threshold, events)[0]
    statistics = next(event for event in of(StageStarted, events) if event.stage == "block1.statistics")
    assert statistics.tokens == threshold.hard_tokens // 4 * 4
    on_train = [event for event in of(Measured, events) if event.split == "train"]
    assert [event.token_set for event in on_train] == ["all", "hard"]


# ---------------------------------------------------------------- evaluation


def plain_early_exit(
    model: Transformer, thresholds: list[float], windows: Windows, method_name: str
) -> tuple[Tensor, Tensor]:
    """The report's rule, token by token: losses and the block each token left at, both `[N, T]`.

    A token that leaves enters the next block with the state it had when it entered the block it left, and runs
    through it with the others.
    """
    method = exit_method(method_name)
    foreseen = plain_statistics(model, windows)
    losses = torch.zeros(windows.targets.shape, dtype=torch.float64)
    left_at = torch.full(windows.targets.shape, -1)
    for index, (words, targets) in enumerate(zip(windows.inputs, windows.targets, strict=True)):
        entering = [model.embedding.weight[word] for word in words]
        for depth, block in enumerate(model.blocks):
            leaving = block(torch.stack(entering)[None])[0]
            for token, state in enumerate(leaving):
                if left_at[index, token] >= 0:
                    continue
                probabilities = (model.head.weight @ state).softmax(0)
                target, place = targets[token], torch.tensor([index * windows.targets.shape[1] + token])
                if depth < len(model.blocks) - 1:
                    ahead = tuple(statistics[place] for statistics in foreseen[depth + 1 :])
                    known = statistics_of(probabilities[None], target[None])
                    seen = Observation(
                        state[None], state[None], entering[token][None], place, depth, SEED, known, ahead
                    )
                    if method.signal(seen, model.classifiers[depth]).item() < thresholds[depth]:
                        entering[token] = state
                        continue
                losses[index, token] = -probabilities[target].log()
                left_at[index, token] = depth
    return losses, left_at


def statistics_of(probabilities: Tensor, targets: Tensor) -> TokenStatistics:
    """All there is to say of predictions `[N, V]`."""
    best, second = probabilities.topk(2).values.T
    entropy = -(probabilities * probabilities.log()).sum(1) / torch.tensor(float(probabilities.shape[1])).log()
    guess = probabilities.argmax(1)
    cross_entropy = -probabilities.gather(1, targets[:, None])[:, 0].log()
    return TokenStatistics(cross_entropy, best, guess == targets, guess, best - second, entropy)


def plain_statistics(model: Transformer, windows: Windows) -> list[TokenStatistics]:
    """Of each block, when all tokens go through all blocks."""
    states, found = model.embedding(windows.inputs), []
    for block in model.blocks:
        states = block(states)
        found.append(statistics_of(model.head(states).flatten(0, 1).softmax(1), windows.targets.flatten()))
    return found


@pytest.fixture
def deep_config(tiny_config: MakeConfig) -> MakeConfig:
    """Three blocks of unequal depth, in float64 so that no signal is decided by rounding."""

    def make(method: str = "loss") -> RunConfig:
        return tiny_config(method, block_layers=(1, 2, 1), dtype="float64")

    return make


def measure(model: Transformer, thresholds: list[float], dataset: Dataset, config: RunConfig) -> dict[str, Measured]:
    events = evaluate(model, thresholds, dataset.evaluation, config, "evaluation")
    return {event.name: event for event in events if isinstance(event, Measured)}


def middling_thresholds(model: Transformer, dataset: Dataset, method_name: str) -> list[float]:
    """Medians of the signal over the evaluation tokens: some tokens leave at every block."""
    return [signal.median().item() + 1e-9 for signal in static_signals(model, dataset, method_name)]


def static_signals(model: Transformer, dataset: Dataset, method_name: str) -> list[Tensor]:
    """The signals at every exit when all tokens go through all blocks, `[N·T]`."""
    method, statistics = exit_method(method_name), plain_statistics(model, dataset.evaluation)
    states, signals = model.embedding(dataset.evaluation.inputs), []
    for depth, block in enumerate(model.blocks[:-1]):
        entered, states = states, block(states)
        hidden, tokens = states.flatten(0, 1), torch.arange(dataset.evaluation.targets.numel())
        known, ahead = statistics[depth], tuple(statistics[depth + 1 :])
        seen = Observation(hidden, hidden, entered.flatten(0, 1), tokens, depth, SEED, known, ahead)
        signals.append(method.signal(seen, model.classifiers[depth]))
    return signals


@pytest.mark.parametrize("method", method_names())
@torch.no_grad()
def test_early_exit_follows_the_report_s_rule_token_by_token(
    method: str, deep_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = deep_config(method)
    model = Transformer(config.model, WORDS, config.seed).double()
    thresholds = middling_thresholds(model, tiny_dataset, method)
    losses, left_at = plain_early_exit(model, thresholds, tiny_dataset.evaluation, method)
    early = measure(model, thresholds, tiny_dataset, config)["early exit"]
    shares = [(left_at == block).double().mean().item() for block in range(3)]
    assert min(shares) > 0
    assert early.exit_shares == pytest.approx(shares)
    assert early.window_losses == pytest.approx(losses.mean(1).tolist(), rel=1e-9)
    assert early.loss == pytest.approx(losses.mean().item(), rel=1e-9)


@torch.no_grad()
def test_static_depths_and_oracle_are_those_of_the_plain_forward_pass(
    deep_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = deep_config()
    model = Transformer(config.model, WORDS, config.seed).double()
    results = measure(model, [0.5, 0.5], tiny_dataset, config)
    states, targets, losses, guesses = (
        model.embedding(tiny_dataset.evaluation.inputs),
        tiny_dataset.evaluation.targets,
        [],
        [],
    )
    for block in model.blocks:
        states = block(states)
        logits = model.head(states)
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none"))
        guesses.append((logits.argmax(-1) == targets).flatten())
    names = ["block 0 alone", "block 1 alone", "all blocks"]
    assert list(results) == ["early exit", *names, "oracle"]
    for name, loss, right in zip(names, losses, guesses, strict=True):
        assert results[name].loss == pytest.approx(loss.mean().item())
        assert results[name].accuracy == pytest.approx(right.double().mean().item())
    best = torch.stack(losses).min(0)
    assert results["oracle"].loss == pytest.approx(best.values.mean().item())
    shares = [(best.indices == depth).double().mean().item() for depth in range(3)]
    assert results["oracle"].exit_shares == pytest.approx(shares)
    assert all(results["oracle"].loss < results[name].loss for name in names)


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


def floats(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.float32)


@pytest.mark.parametrize("method", method_names())
def test_a_threshold_of_0_lets_all_leave_at_block_0(
    method: str, deep_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = deep_config(method)
    model = Transformer(config.model, WORDS, config.seed).double()
    results = measure(model, [0.0, 0.0], tiny_dataset, config)
    early, alone = results["early exit"], results["block 0 alone"]
    assert early.exit_shares == alone.exit_shares == (1.0, 0.0, 0.0)
    assert early.loss == pytest.approx(alone.loss)
    assert early.accuracy == alone.accuracy
    assert early.layer_savings == alone.layer_savings == pytest.approx(3 / 4)


@pytest.mark.parametrize("method", method_names())
def test_a_threshold_above_1_lets_none_leave(method: str, deep_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = deep_config(method)
    model = Transformer(config.model, WORDS, config.seed).double()
    results = measure(model, [1.1, 1.1], tiny_dataset, config)
    early, full = results["early exit"], results["all blocks"]
    assert early.exit_shares == full.exit_shares == (0.0, 0.0, 1.0)
    assert early.loss == pytest.approx(full.loss)
    assert early.layer_savings == full.layer_savings == 0


def test_every_measurement_of_a_run_agrees_with_itself(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    events = list(train(tiny_config(block_layers=(1, 2, 1)), tiny_dataset))
    found = of(Measured, events)
    assert [event.name for event in found] == [
        *("block 0 on its training windows", "block 0 as trained"),
        *("block 1 on its training windows", "block 1 as trained"),
        "block 2 on its training windows",
        *("early exit", "block 0 alone", "block 1 alone", "all blocks", "oracle"),
    ]
    for event in found:
        shares = event.exit_shares
        assert sum(shares) == pytest.approx(1)
        assert event.layer_savings == pytest.approx(shares[0] * 3 / 4 + shares[1] * 1 / 4)
        assert event.shallow_ratio == pytest.approx(shares[0] + shares[1])
        if event.split == "eval":
            assert event.tokens == 64
            assert sum(event.window_losses) / 16 == pytest.approx(event.loss)


def test_a_block_as_trained_is_the_block_before_later_blocks_move_the_head(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    one = {event.name: event for event in of(Measured, train(tiny_config(block_layers=(1,)), tiny_dataset))}
    two = {event.name: event for event in of(Measured, train(tiny_config(block_layers=(1, 1)), tiny_dataset))}
    assert two["block 0 as trained"].window_losses == one["all blocks"].window_losses
    assert two["block 0 alone"].loss != two["block 0 as trained"].loss


def test_one_block_has_nothing_to_leave_before(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    events = list(train(tiny_config(block_layers=(2,)), tiny_dataset))
    early = next(event for event in of(Measured, events) if event.name == "early exit")
    assert (early.exit_shares, early.shallow_ratio, early.layer_savings) == ((1.0,), 0, 0)
    assert of(Warned, events) == []


EARLY = Measured("evaluation", "early exit", "eval", "all", 64, 2.0, 0.1, (0.5, 0.5), 0.25)
SAVED = Savings("evaluation", 0.2, 0.1)


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


@pytest.mark.parametrize(("loss", "savings", "warned"), [(1.9, 0.25, 1), (2.0, 0.5, 1), (2.1, 0.5, 0), (1.9, 0.2, 0)])
def test_early_exit_that_loses_to_a_static_depth_as_cheap_is_a_warning(
    loss: float, savings: float, warned: int, tiny_config: MakeConfig
) -> None:
    static = replace(EARLY, name="block 0 alone", loss=loss, layer_savings=savings)
    warnings = list(judge(EARLY, [static], SAVED, tiny_config(hard_ratio=0.5)))
    assert len(warnings) == warned
    assert all("loses to block 0 alone" in warning.message for warning in warnings)


@pytest.mark.parametrize("exited_state", ["input", "copy", "drop"])
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
    reads_head = exit_method(method).reads_head
    flops = ExitCosts(*size, reads_head, exited_state).flops(early.exit_shares)
    assert saved.flops == pytest.approx(1 - flops / full_flops(*size))
    assert of(StageStarted, events)[0].steps == len(of(Step, events))
    if exit_method(method).foresees:
        assert (saved.time, saved.rounds) == (None, 0)
    else:
        assert saved.time_low <= saved.time <= saved.time_high < 1
        assert (saved.tokens, saved.rounds) == (windows.targets.numel(), ROUNDS)


def test_without_exits_nothing_is_saved_and_nothing_said(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    assert of(Savings, train(tiny_config(protocol="full_depth"), tiny_dataset)) == []


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
