"""Losses on overlapping windows: as the recipe of transformers finds them, and with exits."""

from array import array
from pathlib import Path

import pytest
import torch

from core.backbones.model import load_pretrained
from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.data.windows import Windows, cut_windows
from core.early_exit.masked import early_exit_states
from core.evaluation import strided as measured
from core.evaluation.evaluate import evaluate
from core.evaluation.passes import early_exit
from core.evaluation.savings import exit_costs
from core.events import StageStarted, Step, Strided
from core.machine.clock import Stopwatch
from core.protocol.resolve import resolve
from tests.core.backbones.tiny import VOCABULARY, save_tiny, tiny_model

pytest.importorskip("transformers")
WIDTH, TOKENS, BOS = 8, 40, 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def make(folder: Path, *assignments: str) -> RunConfig:
    values = [
        f"model.source=hf:{folder}", f"seq_len={WIDTH}", "machine.threads=1", "machine.device=cpu", "readout=final",
        "last_readout=false", "method=softmax", "block_layers=1,1,1", "batch_size=2", *assignments,
    ]  # fmt: skip
    return resolve(build([preset_layer("pretrained"), *map(set_layer, values)]))


def text() -> list[int]:
    return torch.randint(VOCABULARY, (TOKENS + 1,), generator=torch.Generator().manual_seed(2)).tolist()


@torch.no_grad()
def documented_loss(tokens: list[int], stride: int, beginning: int | None) -> float:
    """The recipe of transformers' documentation ("Perplexity of fixed-length models"), windows of WIDTH + 1 tokens.

    It weighs each window's mean by one token too few, but for the first; here each counts as many as it is a mean of.
    """
    model, text, total, counted, before = tiny_model("llama"), torch.tensor([tokens]), 0.0, 0, 0
    for start in range(0, len(tokens), stride):
        end = min(start + WIDTH + 1, len(tokens))
        inputs, labels = text[:, start:end].clone(), text[:, start:end].clone()
        labels[:, : before - end] = -100
        if beginning is not None:
            inputs[0, 0] = beginning
        new = int((labels[:, 1:] != -100).sum())  # the first label has nothing before it
        total += float(model(inputs, labels=labels).loss) * new
        counted, before = counted + new, end
        if end == len(tokens):
            assert counted == TOKENS
            return total / counted
    raise AssertionError("the text has an end")


@pytest.mark.parametrize(("stride", "beginning"), [(3, None), (4, None), (3, BOS), (1, None), (WIDTH, None)])
def test_the_loss_of_all_blocks_is_that_of_transformers_recipe(
    folder: Path, stride: int, beginning: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = _windows(beginning)
    config = make(folder, f"data.stride={stride}")
    monkeypatch.setattr("core.data.batches.WIDE_READ_TOKENS", 1)  # several batches
    events = list(measured.strided(load_pretrained(config), (), windows, config, "evaluation", 7))
    *steps, found = events
    assert isinstance(found, Strided)
    assert (found.tokens, found.stride, found.early) == (TOKENS, stride, None)
    assert found.full == pytest.approx(documented_loss(text(), stride, beginning), abs=1e-5)
    assert [step.step for step in steps if isinstance(step, Step)] == list(range(7, 7 + len(steps)))
    assert len(steps) == measured.overlapping_batches(windows, config) > 1


def test_early_exit_counts_the_same_tokens_and_the_evaluation_reports_both(folder: Path) -> None:
    config, windows, stride = make(folder, "data.stride=3"), _windows(None), 3
    model, thresholds = load_pretrained(config), (0.2, 0.2)
    clock = Stopwatch()
    events = list(evaluate(model, thresholds, windows, config, "evaluation", clock))
    (profile,) = clock.read("evaluation")
    flops = dict(zip(profile.parts, profile.part_flops, strict=True))
    apart, cost = _windows(None), exit_costs(VOCABULARY, config, thresholds)
    overlaps = WIDTH * (1 + len(range(0, TOKENS - WIDTH, stride)))
    assert apart.targets.numel() < overlaps
    assert 1 < flops["with a stride"] / (overlaps * cost.full) < 2  # all blocks, and early exit
    (found,) = (event for event in events if isinstance(event, Strided))
    total = 0.0
    for start in range(0, TOKENS - WIDTH + stride, stride):
        tokens = torch.tensor(text()[start : start + WIDTH + 1])[None]
        alone = Windows(tokens[:, :-1], tokens[:, 1:])
        result = measured.Pass.empty(alone.targets)
        early_exit(model, thresholds, alone, slice(0, 1), result, config, states=early_exit_states)
        new = WIDTH if start == 0 else min(stride, TOKENS - (start - stride + WIDTH))
        total += float(result.cross_entropy[0, -new:].sum())
    assert found.early == pytest.approx(total / TOKENS, abs=1e-4)
    started = next(event for event in events if isinstance(event, StageStarted))
    steps = [event.step for event in events if isinstance(event, Step)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) <= started.steps


def _windows(beginning: int | None) -> Windows:
    return cut_windows(array("i", text()), WIDTH, 1, beginning)
