"""A pretrained backbone that is trained on together with its exits: `train.backbone=all`."""

from pathlib import Path

import pytest
import torch

from core.backbones.model import PretrainedModel, load_pretrained
from core.config.derived import loss_shares
from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.data.windows import Dataset, load_dataset
from core.errors import ConfigError, UsageError
from core.estimate.estimate import estimate
from core.estimate.memory_check import require_memory
from core.estimate.workload import Sizes, memory
from core.events import Epoch, Event, Measured, StageStarted
from core.generators import drained
from core.protocol.checkpoint import Checkpoint, load_model
from core.protocol.memory import StageMemory
from core.protocol.order import planned_stages
from core.protocol.resolve import resolve
from core.protocol.train import first_data, train
from core.rng import stream
from core.stages.backbone_training import BackboneTrainer
from core.stages.lm import train_blocks
from core.state import RunState, reduce_all
from tests.core.backbones.tiny import save_tiny

pytest.importorskip("transformers")

FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma3_text")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), tie_word_embeddings=True)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text in which the word before decides the next."""
    words, text = [f"w{number}" for number in range(20)], tmp_path_factory.mktemp("text") / "pattern.txt"
    draw, number, said = torch.Generator().manual_seed(1), 0, []
    for _ in range(1500):
        said.append(words[number])
        number = (3 * number + 1 + int(torch.randint(2, (1,), generator=draw))) % 20
    text.write_text(" ".join(said))
    return text


def make(folder: Path, text: Path, *assignments: str) -> RunConfig:
    values = [
        f"model.source=hf:{folder}", f"data.corpus={text}", "seq_len=8", "num_samples=80", "eval_ratio=0.2",
        "machine.threads=1", "machine.device=cpu", "block_layers=2,1", "batch_size=4", "max_epochs=2", "lr=3e-3",
        "warmup_steps=2", "val_ratio=0.1", "exit.policy=quantile", *assignments,
    ]  # fmt: skip
    return resolve(build([preset_layer("layerskip"), *map(set_layer, values)]))


def loaded(config: RunConfig) -> Dataset:
    return load_dataset(config.data, config.train.batch_size, config.model.source)


def run(config: RunConfig, checkpoint: Checkpoint | None = None) -> tuple[list[Event], RunState]:
    events = list(train(config, loaded(config), None, checkpoint))
    return events, reduce_all(RunState(), events)


def losses(state: RunState) -> list[float]:
    return [measured.loss for measured in state.measured if measured.split == "calibration"]


@pytest.mark.parametrize("readout", ["final", "affine"])
def test_exits_end_below_those_of_the_frozen_model_after_as_many_steps(
    folder: Path, pattern: Path, readout: str
) -> None:
    config = make(folder, pattern, f"readout={readout}", "patience=2")
    frozen = config.model_copy(update={"train": config.train.model_copy(update={"backbone": "frozen"})})
    _, state = run(config)
    assert [stage.name for stage in state.stages] == [stage.name for stage in planned_stages(config)]
    assert state.stages[0].name == "backbone.lm"
    trained, untouched = losses(state), losses(run(frozen)[1])
    assert len(trained) == len(untouched) == 2
    assert all(now < before - 0.2 for now, before in zip(trained, untouched, strict=True))


def checkpoint(folder: Path, name: str) -> Checkpoint:
    return Checkpoint(folder / name, "origin", "1 0.0")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_opens_with_what_it_ended_with_and_evaluates_the_same(
    folder: Path, pattern: Path, tmp_path: Path, dtype: str
) -> None:
    config, kept = make(folder, pattern, f"machine.dtype={dtype}", "max_epochs=1"), checkpoint(tmp_path, "1")
    _, state = run(config, kept)
    model = load_model(config, 37, checkpoint(tmp_path, "1"))
    assert isinstance(model, PretrainedModel)
    dtypes = {weight.dtype for weight in model.body.parameters()}
    assert (dtypes, model.head.weight.dtype) == ({getattr(torch, dtype)}, torch.float32)
    weights = kept.recall("backbone.lm")
    assert weights is not None
    assert {weight.dtype for weight in weights[1].values()} == {torch.float32}
    assert torch.equal(model.head.weight, weights[1]["head.weight"])
    data = loaded(config).evaluation
    with torch.no_grad():
        states = model.embed(data.inputs)
        for block in model.blocks:
            states = block(states)
        logits = model.readout(1, states) @ model.head_weight(1).T
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), data.targets.flatten())
    full = state.measure("all blocks")
    assert full is not None
    assert full.loss == pytest.approx(float(expected), abs=1e-5 if dtype == "float32" else 2e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_training_resumes_bit_for_bit_and_a_finished_one_is_not_repeated(
    folder: Path, pattern: Path, tmp_path: Path, dtype: str
) -> None:
    config = make(folder, pattern, f"machine.dtype={dtype}", "patience=2", "layer_dropout=0.5")
    whole, _ = run(config, checkpoint(tmp_path, "whole"))
    stopped = checkpoint(tmp_path, "stopped")
    for event in train(config, loaded(config), None, stopped):
        if isinstance(event, Epoch):
            break
    stopped.flush()
    resumed, _ = run(config, checkpoint(tmp_path, "stopped"))
    weights = [checkpoint(tmp_path, name).recall("backbone.lm") for name in ("whole", "stopped")]
    assert weights[0] is not None
    assert weights[1] is not None
    assert all(torch.equal(weight, weights[1][1][name]) for name, weight in weights[0][1].items())
    again, _ = run(config, checkpoint(tmp_path, "stopped"))
    reused = [event.stage for event in again if isinstance(event, StageStarted) and event.reused]
    assert reused[:2] == ["backbone.lm", "backbone"]

    def measured(events: list[Event]) -> list[Event]:
        return [event for event in events if isinstance(event, Measured)]

    assert measured(whole) == measured(resumed) == measured(again)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_every_family_learns_and_windows_skip_layers_in_training_only(
    family: str, pattern: Path, tmp_path: Path
) -> None:
    config = make(save_tiny(tmp_path, family), pattern, "layer_dropout=0.9", "exit_curriculum=every", "readout=affine")
    model, data = load_pretrained(config, to_train=True), loaded(config)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    inputs = data.train.inputs[:4]
    with torch.no_grad():
        plain = model.blocks[0](model.embed(inputs))
        with model.dropping_layers((0.0, 0.0, 0.5), stream(1, "drop")):
            assert torch.equal(plain, model.blocks[0](model.embed(inputs)))
            dropped = model.blocks[1](plain)
        full = model.blocks[1](plain)
    skips = [bool(torch.equal(dropped[row], plain[row])) for row in range(4)]
    assert 0 < sum(skips) < 4
    assert all(skip or torch.allclose(dropped[row], full[row], atol=1e-5) for row, skip in enumerate(skips))
    windows = first_data(model, data.train, config).train
    drained(train_blocks(model, loss_shares(config), windows, config, "backbone.lm", trainer_type=BackboneTrainer))
    unused = {
        id(weight) for weight in (*model.family.final_norm(model.body).parameters(), *model.classifiers.parameters())
    }
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]) == (id(weight) in unused), name
    model.end_training()
    with torch.no_grad():
        assert torch.equal(model.blocks[1](plain), model.blocks[1](plain))
    assert not any(weight.requires_grad for weight in model.body.parameters())


def test_runs_of_two_methods_train_the_backbone_once(folder: Path, pattern: Path) -> None:
    memory, config = StageMemory(), make(folder, pattern, "max_epochs=1")
    list(train(config, loaded(config), memory))
    sibling = config.model_copy(update={"method": "softmax"})
    events = list(train(sibling, loaded(config), memory))
    reused = [event.stage for event in events if isinstance(event, StageStarted) and event.reused]
    assert reused == ["backbone.lm", "backbone", "block0.statistics", "block1.statistics"]


def test_memory_counts_the_optimizer_s_state_and_is_refused_before_anything_is_loaded(
    folder: Path, pattern: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(folder, pattern)
    frozen = config.model_copy(update={"train": config.train.model_copy(update={"backbone": "frozen"})})
    sizes = Sizes(80, 16, 37)
    model = load_pretrained(config, to_train=True)
    weights = 4 * sum(weight.numel() for weight in model.learning_weights())
    assert memory(config, sizes) - memory(frozen, sizes) > 9 * weights
    monkeypatch.setattr("core.estimate.memory_check.free_memory", lambda _: memory(frozen, sizes))
    with pytest.raises(UsageError, match=r"train\.backbone"):
        require_memory([config], sizes)


def test_a_training_is_estimated_with_its_layers(folder: Path, pattern: Path) -> None:
    config = make(folder, pattern)
    found = estimate([config], Sizes(80, 16, 37))
    assert found is not None
    assert found.trained_tokens.high == 2 * 65 * 8  # 80 windows, 8 for calibration, 7 for early stopping
    assert found.flops.low > 0
    assert found.speed > 0


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["machine.dtype=float16"], "machine.dtype must be float32 or bfloat16 where train.backbone is all"),
        (["causal=false"], "model.causal must be true: pretrained models"),
        (["readout_target=last"], "train.readout_target must be text where train.backbone is all"),
        (["train.backbone=frozen", "layer_dropout=0.2"], "train.layer_dropout is for train.backbone all"),
    ],
)
def test_what_does_not_go_together_is_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build([preset_layer("layerskip"), *map(set_layer, assignments)])


def test_a_model_of_our_own_has_no_backbone_to_choose() -> None:
    with pytest.raises(ConfigError, match=r"train\.backbone must be frozen for a model of our own"):
        build([preset_layer("sound"), set_layer("train.backbone=all")])
