"""An estimate against what a run then does."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from core import costs
from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.errors import UsageError
from core.estimate import workload
from core.estimate.estimate import add_up, estimate, pass_seconds, read_sizes, resident_memory
from core.estimate.speed import Speed, measure
from core.estimate.workload import (
    ACCELERATOR_CHUNK_TOKENS,
    CHUNK_TOKENS,
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
from core.head import loss as losses
from core.protocol.memory import StageMemory
from core.protocol.resolve import resolve
from core.protocol.train import train

Make = Callable[..., RunConfig]
SPEED = Speed(training={1: 3.0}, layers={1: 0.5}, head=1.0, classifier=0.25)


def sizes_of(dataset: Dataset) -> Sizes:
    return Sizes(len(dataset.train.inputs), len(dataset.evaluation.inputs), dataset.vocabulary.size)


def tokens_stepped(configs: Sequence[RunConfig], dataset: Dataset) -> Counter[tuple[str, int | None]]:
    """Tokens of all steps that siblings really take, by stage kind and block."""
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


def test_training_passes_are_the_tokens_a_run_trains_on(tiny_config: Make, tiny_dataset: Dataset) -> None:
    configs = [tiny_config(method, max_epochs=3, patience=9) for method in ("loss", "distill", "softmax")]
    taken = tokens_stepped(configs, tiny_dataset)
    passes = list(experiment_passes(configs, sizes_of(tiny_dataset)))
    blocks = taken["lm", 0] + taken["lm", 1]
    assert trained(passes, classifier=False) == pytest.approx(blocks, rel=0.1)
    classifiers = taken["exit classifier", 0] + taken["exit classifier", 1]
    assert trained(passes, classifier=True) == pytest.approx(classifiers, rel=0.1)


def test_block_0_is_counted_once_for_siblings_and_for_each_where_a_classifier_trains_along(tiny_config: Make) -> None:
    sizes = Sizes(48, 16, 30)

    def passes_of_siblings(**values: object) -> int:
        configs = [tiny_config(method, **values) for method in ("loss", "distill")]
        alone = sum(len(list(run_passes(config, sizes))) for config in configs)
        return alone - len(list(experiment_passes(configs, sizes)))

    assert passes_of_siblings() == 4  # training, validation, statistics, block 0 as trained
    assert passes_of_siblings(exit_classifier_mode="joint") == 0


def test_another_seed_trains_block_0_again(tiny_config: Make) -> None:
    configs = [tiny_config(seed=seed) for seed in (1, 2)]
    sizes = Sizes(48, 16, 30)
    assert len(list(experiment_passes(configs, sizes))) == 2 * len(list(run_passes(configs[0], sizes)))


@pytest.mark.parametrize(("patience", "most", "expected"), [(2, 5, Span(3, 5)), (9, 5, Span(5, 5)), (1, 1, Span(1, 1))])
def test_patience_bounds_the_epochs_from_below(tiny_config: Make, patience: int, most: int, expected: Span) -> None:
    assert epochs(tiny_config(patience=patience, max_epochs=most)) == expected


def test_later_blocks_get_the_hard_share(tiny_config: Make) -> None:
    config = tiny_config(block_layers=(1, 1, 1), hard_ratio=0.5)
    assert block_windows(config, Sizes(48, 16, 30)) == [48, 24, 12]


def test_flops_of_a_pass_are_those_of_its_parts(tiny_config: Make) -> None:
    config, tokens = tiny_config(), Span(10, 20)
    layer, head = costs.layer_flops(config.model, 4), costs.head_flops(config.model, 30)
    assert pass_flops(Pass(tokens, (1, 1), heads=2), config, 30) == tokens * (2 * layer + 2 * head)
    assert pass_flops(Pass(tokens, (1,), trains=True), config, 30) == tokens * (3 * (layer + head))
    classifier = Pass(tokens, trains=True, classifier=True)
    assert pass_flops(classifier, config, 30) == tokens * (3 * costs.classifier_flops(config.model))


def test_seconds_of_a_pass_are_those_of_its_parts() -> None:
    tokens = Span(1, 2)
    assert pass_seconds(Pass(tokens, (1, 1), heads=1.5), SPEED) == tokens * 2.5
    assert pass_seconds(Pass(tokens, (1,), trains=True), SPEED) == tokens * 3.0
    assert pass_seconds(Pass(tokens, trains=True, classifier=True), SPEED) == tokens * 0.25


def test_an_estimate_adds_up_all_runs(tiny_config: Make) -> None:
    configs = [resolve(tiny_config(method, max_epochs=3, patience=1)) for method in ("loss", "softmax")]
    sizes = Sizes(48, 16, 30)
    found = add_up(configs, sizes, SPEED, held=1_000_000)
    assert (found.runs, found.train_tokens, found.eval_tokens, found.vocab_size) == (2, 192, 64, 30)
    assert found.epochs == Span(2, 3)
    block0, block1 = 156, 80  # tokens of an epoch: 48 and 24 windows of 4, a fifth of them held out
    assert found.trained_tokens == Span(2 * block0 + 2 * 2 * block1, 3 * block0 + 2 * 3 * block1)
    assert 0 < found.seconds.low < found.seconds.high
    assert 0 < found.flops.low < found.flops.high
    assert found.memory == 1_000_000 + memory(configs[0], sizes)


def test_the_head_takes_what_the_loss_keeps(tiny_config: Make) -> None:
    assert (CHUNK_TOKENS, ACCELERATOR_CHUNK_TOKENS) == (losses.CPU.tokens, losses.ACCELERATOR.tokens)
    assert workload.LEAST_SHARE == losses.LEAST_SHARE
    values = {"batch_size": 256, "seq_len": 8, "device": "cpu"}
    one, two, many = (memory(tiny_config(**values, threads=threads), Sizes(64, 64, 10_000)) for threads in (1, 2, 999))
    assert two - one == 4 * 10_000 * (losses.CPU.tokens + tiny_config().model.dim)
    assert many - one == (2048 // losses.LEAST_SHARE - 1) * (two - one)


def test_memory_grows_with_text_vocabulary_and_number_type(tiny_config: Make) -> None:
    least = memory(tiny_config(), Sizes(48, 16, 30))
    assert memory(tiny_config(), Sizes(4800, 16, 30)) > least
    assert memory(tiny_config(), Sizes(48, 16, 100_000)) > least
    assert memory(tiny_config(dtype="float64"), Sizes(48, 16, 30)) > least


def test_the_speed_is_measured_on_real_steps_and_the_thread_count_put_back(tiny_config: Make) -> None:
    before = torch.get_num_threads()
    speed = measure(tiny_config(block_layers=(1, 2), threads=before + 1), 30, seconds=0.05)
    assert speed is not None
    assert set(speed.training) == set(speed.layers) == {1, 2}
    assert min(*speed.training.values(), speed.head, speed.classifier) > 0
    assert torch.get_num_threads() == before


def test_nothing_is_fitted_where_the_method_learns_nothing(tiny_config: Make) -> None:
    speed = measure(tiny_config("softmax"), 30, seconds=0.01)
    assert speed is not None
    assert speed.classifier == 0


def test_a_measurement_stops_when_told(tiny_config: Make) -> None:
    steps = iter([False, False])
    assert measure(tiny_config(), 30, 60.0, lambda: next(steps, True)) is None


def test_a_high_learning_rate_can_be_measured(tiny_config: Make) -> None:
    assert measure(tiny_config(lr=1e6), 30, seconds=0.05) is not None


def test_an_estimate_reads_the_corpus_as_training_does(tiny_config: Make, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{number % 17}" for number in range(2000)))
    config = tiny_config(corpus=str(text), num_samples=100, seq_len=4, batch_size=8)
    sizes = read_sizes(config)
    assert sizes == Sizes(120, 24, 19)
    found = estimate([config], sizes)
    assert found is not None
    assert found.seconds.low > 0
    assert found.memory >= resident_memory() / 2
    assert found.device == "cpu"


def test_a_model_larger_than_the_machine_is_not_even_measured(tiny_config: Make) -> None:
    config = tiny_config(dim=2_000_000, num_heads=1)
    with pytest.raises(UsageError, match=r"a run needs .* GB of memory, and this machine has .* GB: lower model\.dim"):
        estimate([config], Sizes(48, 16, 30))


def test_what_the_training_process_holds_counts(tiny_config: Make) -> None:
    found = estimate([tiny_config()], Sizes(48, 16, 30), held=10**12)
    assert found is not None
    assert found.memory > 10**12


def test_what_a_form_needs_imports_no_torch() -> None:
    modules = "core.estimate.estimate, core.session.plan, core.estimate.workload, core.protocol.order"
    script = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=True)
