"""Every way in which a protocol can differ: each switch does what it says, and any of them go together."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.config.derived import loss_shares
from core.config.run_config import RunConfig, method_names
from core.costs import parameters
from core.data.windows import Dataset
from core.errors import NoHardTokensError
from core.estimate.workload import Sizes, experiment_passes, memory
from core.events import Epoch, Event, Measured, StageStarted, Step, Threshold, TokensMeasured
from core.exits._load import exit_method
from core.model import Transformer, new_model
from core.protocol.checkpoint import load_model
from core.protocol.train import StageMemory, first_data, planned_stages, train
from core.rng import stream
from core.stages.block_data import BlockData, from_states, from_words
from core.stages.exit_classifier import fit_classifier
from core.stages.hard_tokens import exit_signal, mask_hard_tokens
from core.stages.lm import train_block, train_blocks
from core.stages.splits import split_windows
from core.stages.statistics import block_output
from core.stages.trainer import Weights, begin_as_before, rate_factor
from core.state import RunState, reduce

MakeConfig = Callable[..., RunConfig]
DIM, WORDS = 8, 30
SOUND = {
    "norm": "pre",
    "dropout": 0.2,
    "tie_embedding": True,
    "train_embedding": True,
    "head": "frozen",
    "split": "contiguous",
    "later_init": "identity",
    "hard_tokens": "mask",
    "calibration": "heldout",
    "calibration_ratio": 0.25,
    "exited_state": "copy",
    "classifier_fit": "lbfgs",
    "last_exit": False,
}


class Shelf:
    """A checkpoint in memory: what the stages trained."""

    folder = "nowhere"

    def __init__(self) -> None:
        self.kept: dict[str, Weights] = {}

    def recall(self, stage: str) -> tuple[tuple[Event, ...], Weights] | None:
        return ((), self.kept[stage]) if stage in self.kept else None

    def keep(self, stage: str, events: object, weights: Weights) -> None:
        self.kept[stage] = weights

    def progress(self, stage: str) -> None:
        return None

    def keep_progress(self, stage: str, progress: object) -> None:
        pass


def of(kind: type, events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def result_of(stage: Any) -> Any:
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value


def trained(config: RunConfig, dataset: Dataset) -> tuple[list[Event], Transformer]:
    """A whole run, and its model from what the stages kept."""
    shelf = Shelf()
    events = list(train(config, dataset, None, shelf))  # type: ignore[arg-type]
    return events, load_model(config, WORDS, shelf)  # type: ignore[arg-type]


def numbers(event: Event) -> Iterator[float]:
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        yield from (number for number in (value if isinstance(value, tuple) else (value,)) if isinstance(number, float))


# ---------------------------------------------------------------- all of them together


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
        "exited_state": st.sampled_from(["input", "copy", "drop"]),
        "classifier_fit": st.sampled_from(["adam", "lbfgs"]),
        "block_layers": st.sampled_from([(1,), (1, 1), (1, 1, 1)]),
        "causal": st.booleans(),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=switches)
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
    assert tuple(event.stage for event in of(StageStarted, events)) == planned_stages(config)
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


def test_sound_runs_share_what_does_not_depend_on_the_method(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    for protocol in ("staged", "joint", "full_depth"):
        memory = StageMemory()
        for method in ("loss", "entropy", "gain"):
            config = tiny_config(method, protocol=protocol, **SOUND)
            shared, alone = (list(train(config, tiny_dataset, shelf)) for shelf in (memory, None))
            reused = {event.stage for event in of(StageStarted, shared) if event.reused}
            assert (method == "loss") == (not reused)
            assert of(Measured, shared) == of(Measured, alone)


def test_a_shared_block_0_is_read_with_the_run_s_own_embedding(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    """The sibling that trained it has moved its own embedding since, with the head that it is tied to."""
    memory = StageMemory()
    values = {"train_embedding": True, "tie_embedding": True, "hard_tokens": "mask", "exited_state": "input"}
    for method in ("softmax", "saturation", "loss"):
        shared, alone = (list(train(tiny_config(method, **values), tiny_dataset, shelf)) for shelf in (memory, None))
        assert of(Measured, shared) == of(Measured, alone)


def test_another_calibration_split_is_another_training(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    memory = StageMemory()
    list(train(tiny_config(), tiny_dataset, memory))
    events = list(train(tiny_config(calibration="heldout"), tiny_dataset, memory))
    assert not any(event.reused for event in of(StageStarted, events))


# ---------------------------------------------------------------- splits


def test_contiguous_early_stopping_windows_are_the_tail(tiny_config: MakeConfig) -> None:
    training, held_out = split_windows(40, tiny_config(split="contiguous"), "any", torch.device("cpu"))
    assert (training.tolist(), held_out.tolist()) == (list(range(32)), list(range(32, 40)))


def test_calibration_windows_are_the_last_and_no_block_sees_them(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(**{**SOUND, "calibration_ratio": 0.25, "method": "gain", "block_layers": (1, 1, 1)})
    model = new_model(config, WORDS)
    data = first_data(model, tiny_dataset.train, config)
    assert data.heldout is not None
    assert torch.equal(data.train.targets, tiny_dataset.train.targets[:36])
    assert torch.equal(data.heldout.targets, tiny_dataset.train.targets[36:])
    other = dataclasses.replace(tiny_dataset.train, inputs=tiny_dataset.train.inputs.clone())
    other.inputs[36:] = other.inputs[36:].flip(1)
    events, changed = (
        [event for event in train(config, dataset) if isinstance(event, Epoch) and event.stage == "block0.lm"]
        for dataset in (tiny_dataset, dataclasses.replace(tiny_dataset, train=other))
    )
    assert [event.loss for event in events] == [event.loss for event in changed]
    assert [event.val_loss for event in events] == [event.val_loss for event in changed]


def test_classifier_and_threshold_come_from_the_calibration_windows(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    events = list(train(tiny_config(**SOUND, block_layers=(1, 1, 1)), tiny_dataset))
    first, second = of(Threshold, events)
    assert (first.split, first.tokens) == ("calibration", 12 * 4)
    assert second.tokens == first.hard_tokens
    assert first.hard_tokens / first.tokens == pytest.approx(0.5, abs=0.03)
    fits = {event.stage: event.tokens for event in of(StageStarted, events) if event.kind == "exit classifier"}
    assert fits == {"block0.exit": first.tokens, "block1.exit": second.tokens}
    splits = [(event.split, event.token_set) for event in of(Measured, events) if event.stage.endswith("statistics")]
    assert splits[:3] == [("train", "all"), ("calibration", "all"), ("eval", "all")]
    assert splits[3:5] == [("train", "hard"), ("calibration", "hard")]


# ---------------------------------------------------------------- hard tokens in their own windows


@pytest.mark.parametrize("exited_state", ["input", "copy", "drop"])
def test_masked_hard_tokens_keep_their_windows_and_the_others_state_is_as_asked(
    exited_state: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(exited_state=exited_state, hard_tokens="mask", block_layers=(1, 1, 1))
    model = new_model(config, WORDS)
    data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
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


def test_a_later_block_is_trained_and_judged_on_its_hard_tokens_alone(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(exited_state="copy", hard_tokens="mask", split="contiguous", max_epochs=1, dtype="float64")
    model, plain = new_model(config, WORDS), new_model(config, WORDS)
    active = torch.rand(48, 4, generator=torch.Generator().manual_seed(3)) < 0.3
    active[5] = False
    states = torch.randn(48, 4, DIM, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    data = from_states(states, tiny_dataset.train.targets, active)
    events: list[Event] = []
    stage = train_block(model, 1, data, config, "block1.lm")
    events.extend(stage)
    training = torch.tensor([window for window in range(39) if window != 5 and active[window].any()])
    order = training[torch.randperm(len(training), generator=stream(config.seed, "block1.lm", "batches", 1))]
    weights = [*plain.blocks[1].parameters(), plain.head.weight]
    optimizer = torch.optim.AdamW(weights, lr=config.train.lr * 0.1)
    for batch in order.split(config.train.batch_size):
        logits = plain.head(plain.blocks[1](states[batch], active[batch], "copy"))[active[batch]]
        optimizer.zero_grad()
        F.cross_entropy(logits, data.targets[batch][active[batch]], reduction="sum").backward()
        torch.nn.utils.clip_grad_norm_(weights, config.train.grad_clip)
        optimizer.step()
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=1e-7, atol=1e-7)
    held_out = slice(39, 48)
    logits = plain.head(plain.blocks[1](states[held_out], active[held_out], "copy"))[active[held_out]]
    loss = F.cross_entropy(logits, data.targets[held_out][active[held_out]]).item()
    assert of(Epoch, events)[0].val_loss == pytest.approx(loss)
    assert of(StageStarted, events)[0].tokens == int(active[:39].sum())
    assert sum(step.tokens for step in of(Step, events)) == int(active[:39].sum())


def test_no_hard_token_to_stop_early_on_ends_the_run(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    active = torch.zeros(48, 4, dtype=torch.bool)
    active[:20] = True
    data = from_states(torch.zeros(48, 4, DIM), tiny_dataset.train.targets, active)
    config = tiny_config(split="contiguous")
    with pytest.raises(NoHardTokensError, match="no token of the early-stopping windows is hard"):
        list(train_block(new_model(config, WORDS), 1, data, config, "block1.lm"))


# ---------------------------------------------------------------- what is trained


def changed(model: Transformer, before: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize(
    ("values", "block", "expected"),
    [
        ({}, 0, ["blocks", "head"]),
        ({}, 1, ["blocks", "head"]),
        ({"train_embedding": True}, 0, ["blocks", "embedding", "head"]),
        ({"train_embedding": True}, 1, ["blocks", "head"]),
        ({"train_embedding": True, "tie_embedding": True}, 0, ["blocks", "embedding", "head"]),
        ({"train_embedding": True, "tie_embedding": True, "head": "frozen"}, 1, ["blocks"]),
        ({"head": "frozen"}, 0, ["blocks", "head"]),
        ({"head": "frozen"}, 1, ["blocks"]),
        ({"head": "per_block"}, 0, ["blocks", "head"]),
        ({"head": "per_block"}, 1, ["blocks", "later_heads"]),
        ({"exit_classifier_mode": "joint"}, 1, ["blocks", "classifiers", "head"]),
    ],
    ids=str,
)
def test_a_block_s_training_moves_what_the_switches_say(
    values: dict[str, Any], block: int, expected: list[str], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(max_epochs=1, **values)
    model = new_model(config, WORDS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    if block:
        data = from_states(data.states(slice(None)).detach(), data.targets)
    weights = result_of(train_block(model, block, data, config, f"block{block}.lm"))
    assert sorted(changed(model, before)) == expected
    assert not any(name.startswith(f"blocks.{1 - block}") for name in weights)


def test_tied_weights_are_one_matrix(tiny_config: MakeConfig) -> None:
    model = new_model(tiny_config(tie_embedding=True, train_embedding=True, dtype="float64"), WORDS)
    assert model.head.weight is model.embedding.weight
    assert model.head_weight(1) is model.embedding.weight
    assert sum(weight.numel() for weight in model.parameters()) < 2 * WORDS * DIM + sum(
        weight.numel() for weight in [*model.blocks.parameters(), *model.classifiers.parameters()]
    )


def test_heads_of_blocks_start_as_copies_of_the_one_before_as_it_was_trained(tiny_config: MakeConfig) -> None:
    config = tiny_config(head="per_block", block_layers=(1, 1, 1))
    model = new_model(config, WORDS)
    assert all(torch.equal(model.head_weight(block), model.head.weight) for block in (1, 2))
    model.head_weight(1).data.add_(1)
    begin_as_before(model, 2, config)
    assert torch.equal(model.head_weight(2), model.head_weight(1))
    assert model.head_weight(2) is not model.head_weight(1)
    assert not torch.equal(model.head_weight(0), model.head_weight(1))


@torch.no_grad()
def test_an_identity_block_starts_by_saying_what_the_block_before_said(tiny_config: MakeConfig) -> None:
    config = tiny_config(later_init="identity", norm="pre", block_layers=(1, 2))
    model = new_model(config, WORDS)
    model.blocks[0].readout.weight.uniform_(0.5, 1.5)
    begin_as_before(model, 1, config)
    states = model.blocks[0](torch.randn(3, 4, DIM))
    after = model.blocks[1](states)
    assert torch.equal(after, states)
    assert torch.equal(model.readout(1, after), model.readout(0, states))
    assert not torch.equal(model.blocks[0](states), states)


# ---------------------------------------------------------------- how it is trained


def test_the_learning_rate_rises_and_falls_as_asked(tiny_config: MakeConfig) -> None:
    constant = tiny_config()
    assert [rate_factor(step, 10, constant) for step in (0, 5, 29)] == [1, 1, 1]
    warm = tiny_config(warmup_steps=4)
    assert [rate_factor(step, 10, warm) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    cosine = tiny_config(decay="cosine", max_epochs=3)
    assert rate_factor(0, 10, cosine) == 1
    assert rate_factor(15, 10, cosine) == pytest.approx(0.5)
    assert 0 < rate_factor(29, 10, cosine) < 0.01


@pytest.mark.parametrize("values", [{"decay": "cosine"}, {"warmup_steps": 7}, {"weight_decay": 3.0}, {"dropout": 0.5}])
def test_each_of_them_changes_the_training(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    def losses(config: RunConfig) -> list[float]:
        model = new_model(config, WORDS)
        data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
        return [epoch.loss for epoch in of(Epoch, list(train_block(model, 0, data, config, "block0.lm")))]

    assert losses(tiny_config(**values)) != losses(tiny_config())


def test_dropout_is_active_in_training_steps_alone(tiny_config: MakeConfig) -> None:
    model = new_model(tiny_config(dropout=0.5), WORDS)
    words = torch.arange(12).view(3, 4)
    quiet = model.blocks[0](model.embed(words))
    model.train()
    assert torch.equal(model.blocks[0](model.embed(words)), quiet)
    with model.dropping(stream(1, "a")):
        first = model.blocks[0](model.embed(words))
        dropped = model.embed(words)
    with model.dropping(stream(1, "a")):
        again = model.blocks[0](model.embed(words))
    with model.dropping(stream(1, "b")):
        other = model.blocks[0](model.embed(words))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, quiet)
    kept = dropped != 0
    assert 0.2 < kept.double().mean().item() < 0.8
    torch.testing.assert_close(dropped[kept], 2 * model.embedding(words)[kept])
    assert torch.equal(model.blocks[0](model.embed(words)), quiet)


def test_joint_training_minimises_the_blocks_losses_weighted_by_their_number(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(protocol="joint", block_layers=(1, 1, 1), max_epochs=1, dtype="float64")
    assert loss_shares(config) == pytest.approx({0: 1 / 6, 1: 2 / 6, 2: 3 / 6})
    model, plain = new_model(config, WORDS), new_model(config, WORDS)
    inputs, targets = tiny_dataset.train.inputs, tiny_dataset.train.targets
    events = list(train_blocks(model, loss_shares(config), from_words(model, inputs, targets), config, "joint.lm"))
    windows, _ = split_windows(48, config, "joint.lm", torch.device("cpu"))
    order = windows[torch.randperm(len(windows), generator=stream(config.seed, "joint.lm", "batches", 1))]
    weights = [*plain.blocks.parameters(), plain.head.weight]
    optimizer, first = torch.optim.AdamW(weights, lr=config.train.lr), None
    for batch in order.split(config.train.batch_size):
        states, loss = plain.embedding(inputs[batch]), 0
        for block, share in enumerate((1 / 6, 2 / 6, 3 / 6)):
            states = plain.blocks[block](states)
            logits = plain.head(states).flatten(0, 1)
            loss = loss + share * F.cross_entropy(logits, targets[batch].flatten(), reduction="sum")
        first = first if first is not None else loss.item() / (len(batch) * 4)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, config.train.grad_clip)
        optimizer.step()
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=1e-7, atol=1e-7)
    assert of(Step, events)[0].loss == pytest.approx(first)
    assert of(StageStarted, events)[0].block is None


def test_full_depth_trains_all_blocks_for_the_last_prediction_and_never_exits(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(protocol="full_depth", head="frozen")
    assert loss_shares(config) == {0: 0.0, 1: 1.0}
    assert planned_stages(config) == ("full_depth.lm", "evaluation")
    events = list(train(config, tiny_dataset))
    found = {event.name: event for event in of(Measured, events)}
    early, full = found["early exit"], found["all blocks"]
    assert early.window_losses == pytest.approx(full.window_losses)
    assert (early.exit_shares, early.layer_savings) == ((0, 1), 0)
    assert all(event.signal == b"" for event in of(TokensMeasured, events))


def test_joint_stages_end_with_an_exit_for_each_block(tiny_config: MakeConfig) -> None:
    assert planned_stages(tiny_config("loss", protocol="joint", last_exit=False)) == (
        *("joint.lm", "block0.statistics", "block0.exit", "block0.hard", "block1.statistics", "evaluation"),
    )
    assert planned_stages(tiny_config("agree", protocol="joint")) == (
        *("joint.lm", "block0.ahead", "block0.refit", "block0.threshold", "evaluation"),
    )


# ---------------------------------------------------------------- exits that look ahead


def test_a_method_that_looks_ahead_is_fitted_again_once_all_blocks_are_trained(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config("gain", **{**SOUND, "block_layers": (1, 1, 1)})
    assert planned_stages(config) == (
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


def test_the_classifier_s_lbfgs_fit_has_converged_and_draws_nothing(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(classifier_fit="lbfgs", dtype="float64")
    method, model = exit_method("loss"), new_model(config, WORDS)
    data = from_words(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    output = result_of(block_output(model, 0, data, config, "any"))
    events = list(fit_classifier(model, 0, output, method, config, "block0.exit"))
    losses = [epoch.exit_loss for epoch in of(Epoch, events)]
    assert losses == sorted(losses, reverse=True)
    hidden = output.states.flatten(0, 1)
    label = (-output.statistics.cross_entropy).exp()
    loss = method.loss(model.classifier(0)(hidden), label) / len(label)
    gradients = torch.autograd.grad(loss, tuple(model.classifier(0).parameters()))
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-5
    model.classifier(0).linear.weight.data.normal_()
    again = list(fit_classifier(model, 0, output, method, config, "block0.exit"))
    assert [epoch.exit_loss for epoch in of(Epoch, again)] == losses


def test_the_classifier_is_fitted_to_the_tokens_that_are_still_in(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    for values in ({"classifier_fit": "lbfgs"}, {"classifier_fit": "adam", "exit_epochs": 300, "lr": 0.03}):
        config = tiny_config(**values, dtype="float64", later_lr_scale=1.0)
        model, draw = new_model(config, WORDS), torch.Generator().manual_seed(1)
        states = torch.randn(48, 4, DIM, generator=draw, dtype=torch.float64)
        active = torch.rand(48, 4, generator=draw) < 0.4
        data: BlockData = from_states(states, tiny_dataset.train.targets, active)
        output = result_of(block_output(model, 1, data, config, "any"))
        events = list(fit_classifier(model, 1, output, exit_method("loss"), config, "any"))
        assert {event.tokens for event in of(StageStarted, events)} == {int(active.sum())}
        label = (-output.statistics.cross_entropy).exp()
        assert len(label) == active.sum()
        loss = ((model.classifier(1)(output.states[active]).sigmoid() - label) ** 2).mean().item()
        assert loss == pytest.approx(of(Epoch, events)[-1].exit_loss, rel=0.02)
        assert loss < label.var().item()


# ---------------------------------------------------------------- what it takes


@pytest.mark.parametrize("method", ["loss", "gain", "entropy"])
@pytest.mark.parametrize("protocol", ["staged", "joint", "full_depth"])
def test_an_estimate_counts_the_tokens_that_are_trained_on_and_run(
    protocol: str, method: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    sound = {**SOUND, "classifier_fit": "adam", "split": "random_windows"}
    config = tiny_config(method, protocol=protocol, max_epochs=3, patience=9, hard_ratio=0.7, **sound)
    taken, kind = Counter[str](), ""
    for event in train(config, tiny_dataset):
        kind = event.kind if isinstance(event, StageStarted) else kind
        if isinstance(event, Step):
            taken[kind] += event.tokens
    sizes = Sizes(len(tiny_dataset.train.inputs), len(tiny_dataset.evaluation.inputs), WORDS)
    passes = list(experiment_passes([config], sizes))
    trained = sum(one.tokens.high * one.heads for one in passes if one.trains and not one.classifier)
    blocks = {"staged": 1, "joint": 2, "full_depth": 1}[protocol]
    assert trained == pytest.approx(taken["lm"] * blocks, rel=0.15)
    fitted = sum(one.tokens.high for one in passes if one.classifier)
    assert fitted == pytest.approx(taken["exit classifier"], rel=0.15)
    assert 0 < memory(config, sizes)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"norm": "pre", "block_layers": (1, 2, 1)},
        {"tie_embedding": True, "train_embedding": True},
        {"tie_embedding": True, "train_embedding": True, "head": "per_block", "block_layers": (1, 1, 1)},
        {"head": "per_block"},
    ],
    ids=str,
)
def test_all_weights_are_counted(values: dict[str, Any], tiny_config: MakeConfig) -> None:
    config = tiny_config(**values)
    heads = len(config.model.block_layers) if config.train.head == "per_block" else 1
    model = new_model(config, WORDS)
    assert parameters(config.model, WORDS, heads) == sum(weight.numel() for weight in model.parameters())
