"""Joint training with exits in the loop: later blocks learn on the tokens that stay."""

import pytest
import torch
import torch.nn.functional as F

from core.config.derived import loss_shares
from core.data.windows import Dataset
from core.events import Epoch, Measured, StageStarted, Step
from core.model import new_model
from core.protocol.exits_in_training import exiting_tokens
from core.protocol.memory import StageMemory
from core.protocol.train import first_data, train
from core.rng import stream
from core.stages.block_data import from_tokens
from core.stages.lm import train_blocks
from core.stages.splits import split_windows
from tests.core.protocol.bench import Bench, assert_same
from tests.core.training import SEED, SOUND, WORDS, MakeConfig, numbers, of, result_of, stage_names, trained

THREE = {**SOUND, "block_layers": (1, 1, 1), "protocol": "joint", "dropout": 0.0, "max_epochs": 2, "patience": 9}


@pytest.mark.parametrize("exited_state", ["copy", "drop", "deferred"])
def test_a_token_that_left_adds_no_loss_to_later_blocks_and_leaves_its_state_behind(
    exited_state: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(
        **{**THREE, "exited_state": exited_state, "dtype": "float64", "max_epochs": 1, "exits_from": 1}
    )
    model, plain = new_model(config, WORDS), new_model(config, WORDS)
    inputs, targets = tiny_dataset.train.inputs, tiny_dataset.train.targets
    left_at = torch.randint(0, 3, targets.shape, generator=torch.Generator().manual_seed(5))
    data = from_tokens(model, inputs, targets)
    events = []
    stage = train_blocks(model, loss_shares(config), data, config, "joint.lm", leaving=lambda: left_at)
    events.extend(stage)
    windows, held_out = split_windows(48, config, "joint.lm", torch.device("cpu"))
    order = windows[torch.randperm(len(windows), generator=stream(SEED, "joint.lm", "batches", 1))]
    weights = [*plain.blocks.parameters(), plain.head.weight]
    optimizer, first = torch.optim.AdamW(weights, lr=config.train.lr), 0.0
    for batch in order.split(config.train.batch_size):
        states, loss, weight = plain.embedding(inputs[batch]), torch.zeros(()).double(), 0.0
        for block, share in enumerate((1 / 6, 2 / 6, 3 / 6)):
            staying = left_at[batch] >= block
            states = plain.blocks[block](states, staying, exited_state)
            logits = plain.readout(block, states[staying]) @ plain.head.weight.T
            loss = loss + share * F.cross_entropy(logits, targets[batch][staying], reduction="sum")
            weight += share * int(staying.sum())
        first = first or loss.item() / weight
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, config.train.grad_clip)
        optimizer.step()
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=1e-7, atol=1e-7)
    assert of(Step, events)[0].loss == pytest.approx(first)
    assert sum(step.tokens for step in of(Step, events)) == len(windows) * 4
    states, loss = plain.embedding(inputs[held_out]), 0.0
    for block, share in enumerate((1 / 6, 2 / 6, 3 / 6)):
        states = plain.blocks[block](states)
        logits = (plain.readout(block, states) @ plain.head.weight.T).flatten(0, 1)
        loss += share * F.cross_entropy(logits, targets[held_out].flatten()).item()
    assert of(Epoch, events)[0].val_loss == pytest.approx(loss)


def test_blocks_that_no_token_reaches_do_not_learn(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = tiny_config(**{**THREE, "max_epochs": 1, "exits_from": 1, "weight_decay": 0.0})
    model, before = new_model(config, WORDS), new_model(config, WORDS)
    data = from_tokens(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
    gone = torch.zeros_like(data.targets)
    result_of(train_blocks(model, loss_shares(config), data, config, "joint.lm", leaving=lambda: gone))
    moved = {
        name.split(".")[1]
        for name, weight in model.blocks.named_parameters(prefix="blocks")
        if not torch.equal(weight, before.get_parameter(name))
    }
    assert moved == {"0"}


@pytest.mark.parametrize("method", ["gain", "softmax", "loss", "oracle"])
@pytest.mark.parametrize("policy", ["savings", "quantile"])
def test_tokens_are_gone_where_the_run_s_own_exits_would_let_them_go(
    policy: str, method: str, tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    values = {**THREE, "policy": policy, "savings": 0.4, "classifier_fit": "adam"}
    plain, config = tiny_config(method, **values), tiny_config(method, **values, exits_from=2)
    events, model = trained(plain, tiny_dataset)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = first_data(model, tiny_dataset.train, plain)
    left_at = exiting_tokens(model, data, plain)
    assert_same(model.state_dict(), before)
    assert left_at.shape == data.train.targets.shape
    assert 0 < int((left_at == 2).sum()) < left_at.numel()
    assert torch.equal(left_at, exiting_tokens(model, data, plain))
    in_loop = list(train(config, tiny_dataset))
    assert stage_names(config) == stage_names(plain)
    assert [event.stage for event in of(StageStarted, in_loop)] == [event.stage for event in of(StageStarted, events)]
    first, second = ([event for event in of(Epoch, run) if event.stage == "joint.lm"] for run in (events, in_loop))
    assert numbers(first[:1]) == numbers(second[:1])
    assert first[1].loss != second[1].loss
    assert any(event.way == "early exit" for event in of(Measured, in_loop))


@pytest.mark.parametrize(
    "values", [{}, {"calibration": "train"}, {"exit_classifier_mode": "joint", "method": "loss"}], ids=str
)
def test_an_interrupted_training_with_exits_goes_on_bit_for_bit(
    values: dict[str, str], bench: Bench, tiny_config: MakeConfig
) -> None:
    base = {**THREE, "dropout": 0.3, "max_epochs": 4, "exits_from": 2, "policy": "savings", "method": "gain"}
    config = tiny_config(**{**base, **values})
    whole, broken = bench.queue(config), bench.queue(config)
    _, expected = bench.run(config, whole)
    for place in (("joint.lm", 2, 3), ("joint.lm", 4, 1)):
        assert bench.run(config, broken, place)[0] == "interrupted"
        bench.writer.requeue([broken])
    status, events = bench.run(config, broken)
    assert status == "finished"
    assert numbers(events) == numbers(expected)
    assert_same(bench.weights(config, broken), bench.weights(config, whole))


def test_siblings_share_no_blocks_that_their_own_exits_trained(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    memory = StageMemory()
    list(train(tiny_config("softmax", **THREE, exits_from=2), tiny_dataset, memory))
    events = list(train(tiny_config("gain", **THREE, exits_from=2), tiny_dataset, memory))
    assert not any(event.reused for event in of(StageStarted, events))
