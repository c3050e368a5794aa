"""The estimated work of a run, compared with a real run."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from core import costs
from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.estimate.workload import (
    Pass,
    Sizes,
    Span,
    block_windows,
    epochs,
    experiment_passes,
    memory,
    pass_flops,
    run_passes,
)
from core.events import StageStarted, Step
from core.head.chunks import LEAST_SHARE, chunking
from core.protocol.memory import StageMemory
from core.protocol.resolve import resolve
from core.protocol.train import train
from tests.core.training import SOUND, WORDS, MakeConfig


def sizes_of(dataset: Dataset) -> Sizes:
    return Sizes(len(dataset.train.inputs), len(dataset.evaluation.inputs), dataset.vocabulary.size)


def tokens_stepped(configs: Sequence[RunConfig], dataset: Dataset) -> Counter[tuple[str, int | None]]:
    """Sum the tokens of all steps that sibling runs really take, by stage kind and block."""
    taken: Counter[tuple[str, int | None]] = Counter()
    memory = StageMemory()
    for config in configs:
        stage = None
        for event in train(resolve(config), dataset, memory):
            stage = event if isinstance(event, StageStarted) else stage
            if isinstance(event, Step) and stage is not None:
                taken[stage.kind, stage.block] += event.tokens
    return taken


def trained(passes: Sequence[Pass], *, classifier: bool) -> float:
    return sum(one.tokens.high for one in passes if one.trains and one.classifier == classifier)


def test_training_passes_are_the_tokens_a_run_trains_on(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    configs = [tiny_config(method, max_epochs=3, patience=9) for method in ("loss", "distill", "softmax")]
    taken = tokens_stepped(configs, tiny_dataset)
    passes = list(experiment_passes(configs, sizes_of(tiny_dataset)))
    blocks = taken["lm", 0] + taken["lm", 1]
    assert trained(passes, classifier=False) == pytest.approx(blocks, rel=0.1)
    classifiers = taken["exit classifier", 0] + taken["exit classifier", 1]
    assert trained(passes, classifier=True) == pytest.approx(classifiers, rel=0.1)


def test_block_0_is_counted_once_for_siblings_and_for_each_where_a_classifier_trains_along(
    tiny_config: MakeConfig,
) -> None:
    sizes = Sizes(48, 16, 30)

    def passes_of_siblings(**values: object) -> int:
        configs = [tiny_config(method, **values) for method in ("loss", "distill")]
        alone = sum(len(list(run_passes(config, sizes))) for config in configs)
        return alone - len(list(experiment_passes(configs, sizes)))

    assert passes_of_siblings() == 4  # training, validation, statistics, block 0 as trained
    assert passes_of_siblings(exit_classifier_mode="joint") == 0


def test_another_seed_trains_block_0_again(tiny_config: MakeConfig) -> None:
    configs = [tiny_config(seed=seed) for seed in (1, 2)]
    sizes = Sizes(48, 16, 30)
    assert len(list(experiment_passes(configs, sizes))) == 2 * len(list(run_passes(configs[0], sizes)))


@pytest.mark.parametrize(("patience", "most", "expected"), [(2, 5, Span(3, 5)), (9, 5, Span(5, 5)), (1, 1, Span(1, 1))])
def test_patience_bounds_the_epochs_from_below(
    tiny_config: MakeConfig, patience: int, most: int, expected: Span
) -> None:
    assert epochs(tiny_config(patience=patience, max_epochs=most)) == expected


@pytest.mark.parametrize(("calibration", "read"), [("heldout", 12), ("train", 12)])
def test_exits_in_training_are_set_and_left_before_each_epoch_that_has_them(
    calibration: str, read: int, tiny_config: MakeConfig
) -> None:
    values = {**SOUND, "calibration": calibration, "protocol": "joint", "max_epochs": 5, "patience": 2}
    plain, config = (tiny_config("gain", **values, exits_from=epoch) for epoch in (0, 2))
    before, passes = (list(run_passes(one, Sizes(48, 16, 30))) for one in (plain, config))
    extra = [one for one in passes if one not in before]
    trained = 48 - read if calibration == "heldout" else 48
    layers = config.model.block_layers
    assert extra == [
        Pass(Span(2 * read * 4, 4 * read * 4), layers, heads=2),
        Pass(Span(2 * 8 * read * 4, 4 * 8 * read * 4), trains=True, classifier=True),
        Pass(Span(2 * trained * 4, 4 * trained * 4), layers, heads=1),
    ]


@pytest.mark.parametrize(
    ("policy", "heads"),
    [
        ({"policy": "quantile"}, 1 + 0.25 + 0.25**2),
        ({"policy": "savings", "savings": 5 / 12}, 1 + 0.5 + 0.5**2),  # half leave at each exit: 1/2 · 2/3 + 1/4 · 1/3
        ({"policy": "price", "price": 0.1}, 3),
        ({"policy": "loss", "loss_budget": 0.1}, 3),
    ],
)
def test_a_head_is_read_by_those_who_arrive_as_the_policy_aims_at(
    policy: dict[str, object], heads: float, tiny_config: MakeConfig
) -> None:
    config = tiny_config("softmax", **{**SOUND, "block_layers": (1, 1, 1), "hard_ratio": 0.25, **policy})
    *_, early_exit = run_passes(config, Sizes(48, 16, 30))
    assert early_exit.heads == pytest.approx(heads, abs=1e-4)


def test_later_blocks_get_the_hard_share(tiny_config: MakeConfig) -> None:
    config = tiny_config(block_layers=(1, 1, 1), hard_ratio=0.5)
    assert block_windows(config, Sizes(48, 16, 30)) == [48, 24, 12]


def test_flops_of_a_pass_are_those_of_its_parts(tiny_config: MakeConfig) -> None:
    config, tokens = tiny_config(), Span(10, 20)
    layer, head = costs.layer_flops(config.model, 4), costs.head_flops(config.model, 30)
    assert pass_flops(Pass(tokens, (1, 1), heads=2), config, 30) == tokens * (2 * layer + 2 * head)
    assert pass_flops(Pass(tokens, (1,), trains=True), config, 30) == tokens * (3 * (layer + head))
    classifier = Pass(tokens, trains=True, classifier=True)
    assert pass_flops(classifier, config, 30) == tokens * (3 * costs.classifier_flops(config.model))


@pytest.mark.parametrize("words", [1_000, 10_000])
def test_the_head_takes_what_the_loss_keeps(tiny_config: MakeConfig, words: int) -> None:
    values = {"batch_size": 256, "seq_len": 8, "device": "cpu"}
    one, two, many = (memory(tiny_config(**values, threads=threads), Sizes(64, 64, words)) for threads in (1, 2, 999))
    assert two - one == 4 * words * (chunking(True, words).tokens + tiny_config().model.dim)
    assert many - one == (2048 // LEAST_SHARE - 1) * (two - one)


def test_memory_grows_with_text_vocabulary_and_number_type(tiny_config: MakeConfig) -> None:
    least = memory(tiny_config(), Sizes(48, 16, 30))
    assert memory(tiny_config(), Sizes(4800, 16, 30)) > least
    assert memory(tiny_config(), Sizes(48, 16, 100_000)) > least
    assert memory(tiny_config(dtype="float64"), Sizes(48, 16, 30)) > least


def test_what_a_form_needs_imports_no_torch() -> None:
    modules = "core.estimate.estimate, core.session.plan, core.estimate.workload, core.protocol.order"
    script = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=True)


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
