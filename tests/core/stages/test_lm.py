"""LM training of one block or of all together: plain AdamW with early stopping."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.config.derived import loss_shares
from core.config.dotted_names import flatten
from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.errors import DivergedError, NoHardTokensError
from core.events import Epoch, Event, StageStarted, Step
from core.metrics import run_metrics
from core.model import Transformer, new_model
from core.protocol.train import train
from core.rng import stream
from core.stages.block_data import from_states, from_tokens
from core.stages.lm import train_block, train_blocks
from core.stages.splits import split_windows
from core.state import RunState, reduce_all
from tests.core.training import DIM, WORDS, MakeConfig, of


def test_training_lowers_the_loss_and_the_best_weights_are_kept(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    config = tiny_config(max_epochs=30, lr=0.03)
    model = Transformer(config.model, WORDS, config.seed)
    data = from_tokens(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
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
    list(train_block(trained, 0, from_tokens(trained, inputs, targets), config, "block0.lm"))
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


def test_a_learning_rate_that_is_far_too_high_is_a_diverged_error(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    with pytest.raises(DivergedError, match=r"block0\.lm diverged in epoch 1.*lower train\.lr"):
        list(train(tiny_config(lr=1e37), tiny_dataset))


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


@pytest.mark.parametrize("values", [{"decay": "cosine"}, {"warmup_steps": 7}, {"weight_decay": 3.0}, {"dropout": 0.5}])
def test_each_of_them_changes_the_training(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    def losses(config: RunConfig) -> list[float]:
        model = new_model(config, WORDS)
        data = from_tokens(model, tiny_dataset.train.inputs, tiny_dataset.train.targets)
        return [epoch.loss for epoch in of(Epoch, list(train_block(model, 0, data, config, "block0.lm")))]

    assert losses(tiny_config(**values)) != losses(tiny_config())


def test_joint_training_minimises_the_blocks_losses_weighted_by_their_number(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(protocol="joint", block_layers=(1, 1, 1), max_epochs=1, dtype="float64")
    assert loss_shares(config) == pytest.approx({0: 1 / 6, 1: 2 / 6, 2: 3 / 6})
    model, plain = new_model(config, WORDS), new_model(config, WORDS)
    inputs, targets = tiny_dataset.train.inputs, tiny_dataset.train.targets
    events = list(train_blocks(model, loss_shares(config), from_tokens(model, inputs, targets), config, "joint.lm"))
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


def test_a_stage_counts_the_bytes_of_what_it_trains_on_and_of_what_stops_it(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config, targets = tiny_config(max_epochs=1), tiny_dataset.train.targets
    model = Transformer(config.model, WORDS, config.seed)
    active = torch.arange(targets.numel()).view_as(targets) % 3 == 0
    data = from_states(model.embed(tiny_dataset.train.inputs).detach(), targets, active)
    lengths = torch.arange(WORDS, dtype=torch.int32)
    started, *_ = of(StageStarted, train_blocks(model, {1: 1.0}, data, config, "block1.lm", token_bytes=lengths))
    parts = split_windows(48, config, "block1.lm", torch.device("cpu"))
    expected = [targets[windows][active[windows]].double().mean().item() for windows in parts]
    assert [started.bytes_per_token, started.val_bytes_per_token] == pytest.approx(expected)


def test_each_block_of_a_run_has_its_early_stopping_loss_in_bits_per_byte(
    tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(max_epochs=1)
    state = reduce_all(RunState(), train(config, tiny_dataset))
    found = {metric.key: value for metric, value in run_metrics(state, flatten(config.model_dump())).items()}
    for block, stage in enumerate(stage for stage in state.stages if stage.kind == "lm"):
        assert stage.val_bytes_per_token is not None
        assert 2 < stage.val_bytes_per_token < 4, "of words such as w7, a blank each"
        nats = math.log(found[f"block{block}.val_ppl"])
        assert found[f"block{block}.val_bits_per_byte"] == pytest.approx(nats / math.log(2) / stage.val_bytes_per_token)
