"""The protocol of pretrained models: its stages, from one pass of the backbone to the evaluation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.backbones.model import PretrainedModel, load_pretrained
from core.backbones.readouts import AffineReadout
from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.data.windows import Dataset, load_dataset
from core.evaluation.evaluate import evaluate
from core.events import Event, Measured, Priced, RunFinished, Savings, StageStarted, Threshold, TokensMeasured
from core.generators import drained
from core.machine.clock import UNPROFILED
from core.protocol.memory import StageMemory
from core.protocol.order import planned_stages
from core.protocol.resolve import resolve
from core.protocol.train import train
from core.stages.backbone import cache_states
from core.stages.readout import _Training, fit_affine
from core.state import RunState, reduce_all
from tests.core.backbones.tiny import save_tiny

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def dataset(folder: Path, text: Path) -> Dataset:
    config = make(folder, text)
    return load_dataset(config.data, config.train.batch_size, config.model.source)


def make(folder: Path, text: Path, *assignments: str) -> RunConfig:
    values = [
        f"model.source=hf:{folder}", f"data.corpus={text}", "seq_len=8", "num_samples=80", "eval_ratio=0.2",
        "machine.threads=1", "machine.device=cpu", "block_layers=1,1,1", "batch_size=4", "max_epochs=2", *assignments,
    ]  # fmt: skip
    return resolve(build([preset_layer("pretrained"), *map(set_layer, values)]))


def run(config: RunConfig, dataset: Dataset, memory: StageMemory | None = None) -> tuple[list[Event], RunState]:
    events = list(train(config, dataset, memory))
    return events, reduce_all(RunState(), events)


@pytest.mark.parametrize("method", ["loss", "gain", "margin", "oracle", "correct"])
def test_every_kind_of_method_runs_through_its_planned_stages(
    folder: Path, text: Path, dataset: Dataset, method: str
) -> None:
    config = make(folder, text, f"method={method}", "max_epochs=1")
    events, state = run(config, dataset)
    assert [stage.name for stage in state.stages] == [stage.name for stage in planned_stages(config)]
    assert isinstance(events[-1], RunFinished)
    assert [event.block for event in events if isinstance(event, Threshold)] == [0, 1]
    assert [event.block for event in events if isinstance(event, TokensMeasured)] == [0, 1, 2]
    assert state.final is not None
    assert sum(isinstance(event, Savings) for event in events) == 1


def test_siblings_share_all_but_their_exits_and_later_runs_the_states(
    folder: Path, text: Path, dataset: Dataset
) -> None:
    memory = StageMemory()
    run(make(folder, text, "method=loss"), dataset, memory)
    sibling, _ = run(make(folder, text, "method=gain"), dataset, memory)
    later, _ = run(make(folder, text, "method=gain", "model.readout=norm"), dataset)
    reused = [[e.stage for e in events if isinstance(e, StageStarted) and e.reused] for events in (sibling, later)]
    lm, statistics = ([f"block{block}.{part}" for block in range(3)] for part in ("lm", "statistics"))
    assert reused == [["backbone", "shortcuts", lm[2], *lm[:2], *statistics], ["backbone"]]


@pytest.mark.parametrize(
    ("readout", "target"),
    [("norm", "text"), ("mlp", "text"), ("head", "text"), ("affine", "last")],
)
def test_readouts_learn(folder: Path, text: Path, dataset: Dataset, readout: str, target: str) -> None:
    config = make(folder, text, f"model.readout={readout}", f"train.readout_target={target}", "max_epochs=4", "lr=0.02")
    _, state = run(config, dataset)
    _, final = run(make(folder, text, "model.readout=final"), dataset)

    def losses(state: RunState) -> list[float]:
        return [measured.loss for measured in state.measured if measured.split == "calibration"]

    assert len(losses(final)) == 3
    assert all(now < before - 0.02 for now, before in zip(losses(state), losses(final), strict=True))


def test_without_a_last_readout_the_last_block_stays_the_model_s(folder: Path, text: Path, dataset: Dataset) -> None:
    _, state = run(make(folder, text, "model.last_readout=false"), dataset)
    assert state.stage("lm", 2) is None
    model = load_pretrained(make(folder, text))
    with torch.no_grad():
        states = model.embed(dataset.evaluation.inputs)
        for block in model.blocks:
            states = block(states)
        logits = model.readout(2, states) @ model.head_weight(2).T
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), dataset.evaluation.targets.flatten())
    full = state.measure("all blocks")
    assert full is not None
    assert full.loss == pytest.approx(float(expected), abs=1e-4)


def test_thresholds_are_set_on_calibration_tokens_that_are_still_there(
    folder: Path, text: Path, dataset: Dataset
) -> None:
    events, _ = run(make(folder, text, "method=softmax", "exit.policy=quantile", "hard_ratio=0.5"), dataset)
    first, second = (event for event in events if isinstance(event, Threshold))
    assert first.split == "calibration"
    assert second.tokens == first.hard_tokens
    measured = [event.tokens for event in events if isinstance(event, Measured) and event.split == "calibration"]
    assert measured == [first.tokens] * 3


def test_thresholds_beyond_every_signal_give_the_whole_model(folder: Path, text: Path, dataset: Dataset) -> None:
    config = make(folder, text)
    model = load_pretrained(config)
    assert isinstance(model, PretrainedModel)
    events = evaluate(model, [2.0, 2.0], dataset.evaluation, config, "evaluation")
    found = {event.name: event for event in events if isinstance(event, Measured)}
    assert found["early exit"].loss == pytest.approx(found["all blocks"].loss, abs=1e-6)
    assert found["early exit"].layer_savings == 0


@pytest.mark.parametrize("method", ["gain", "softmax"])
def test_a_price_sets_all_exits(folder: Path, text: Path, dataset: Dataset, method: str) -> None:
    config = make(folder, text, f"method={method}", "exit.policy=price", "exit.price=100.0")
    events, state = run(config, dataset)
    assert [stage.name for stage in state.stages] == [stage.name for stage in planned_stages(config)]
    assert sum(isinstance(event, Priced) for event in events) == 1
    assert state.final is not None
    assert state.final.exit_shares[0] == 1  # no loss is worth that much


def test_a_model_that_predicts_worse_than_chance_is_warned_of(folder: Path, text: Path, dataset: Dataset) -> None:
    _, state = run(make(folder, text, "model.readout=final"), dataset)
    assert any("the tokenizer may be another model's" in warning for warning in state.warnings)


@torch.no_grad()
def test_an_affine_readout_starts_from_what_the_last_block_s_own_readout_says(
    folder: Path, text: Path, dataset: Dataset
) -> None:
    config = make(folder, text)
    model, windows = load_pretrained(config), torch.arange(len(dataset.train.inputs))
    with torch.no_grad():
        cache = drained(cache_states(model, dataset.train.inputs, config, "backbone"))
    readout, last = model.readouts[0], model.readouts[2]
    assert isinstance(readout, AffineReadout)
    assert isinstance(last, AffineReadout)
    torch.nn.init.normal_(last.linear.weight, generator=torch.Generator().manual_seed(1))
    aims: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"own": last.map, "plain": lambda states: states}
    said, far = last(cache.states(2, windows)), {}
    for name, aim in aims.items():
        fit_affine(readout, cache, 0, 2, windows, aim)
        far[name] = float((readout(cache.states(0, windows)) - said).square().mean())
    assert far["own"] < 0.8 * far["plain"]
    training = _Training(model, 0, cache, dataset.train.targets, config, "block0.lm", UNPROFILED)
    training.begin()
    begun = readout.linear.weight.clone()
    fit_affine(readout, cache, 0, 2, training.windows, last.map)
    assert torch.equal(begun, readout.linear.weight)
