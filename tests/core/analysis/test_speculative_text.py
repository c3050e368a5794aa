"""Speculation with a stored run: its text, the acceptance of each exit, and the sweep over exits and lengths."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.analysis import speculation_sweep
from core.analysis.speculation_sweep import prompts_of, sweep
from core.analysis.speculative_text import acceptance_by_exit, undrafted, write_speculatively
from core.analysis.text_generator import TextGenerator, open_generator
from core.early_exit.draft_length import Drafting
from core.early_exit.sampling import GenerationOptions, distribution
from core.errors import UsageError
from core.generators import drained
from core.store.reader import Reader
from tests.trained_run import train_run

GREEDY = GenerationOptions(max_tokens=8, temperature=0)


@pytest.fixture(scope="module")
def database(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speculation") / "runs.db"
    train_run(path, text, seq_len=16, max_seq_len=32, block_layers=(1, 1, 1))
    return path


@pytest.fixture
def generator(database: Path) -> TextGenerator:
    with Reader(database) as reader:
        return open_generator(reader, 1)


def test_the_text_is_that_of_the_whole_model_and_drafts_are_told_apart(generator: TextGenerator) -> None:
    plain = "".join(piece.text for piece in replace(generator, thresholds=()).write("w1 w2", GREEDY))
    passes = list(write_speculatively(generator, "w1 w2", Drafting(1, 3), GREEDY))
    assert "".join(piece.text for one in passes for piece in one.pieces) == plain
    for one in passes:
        assert len(one.pieces) == one.verified.accepted + 1
        assert len(one.rejected.split()) == len(one.verified.drafted) - one.verified.accepted
        assert [piece.token.block for piece in one.pieces] == [1] * one.verified.accepted + [2]


def test_acceptance_is_the_share_of_drafts_that_are_the_whole_models(generator: TextGenerator) -> None:
    prompt = list(generator.vocabulary.encode("w1 w2"))
    for exit_ in (0, 1):
        passes = list(write_speculatively(generator, "w1 w2", Drafting(exit_, 1), GREEDY))
        text = prompt + [piece.token.token for one in passes for piece in one.pieces]
        agrees = acceptance_by_exit(generator, text, 8, GREEDY)[exit_]
        drawn = GenerationOptions(max_tokens=8, temperature=0.7)
        likely = acceptance_by_exit(generator, text, 8, drawn)[exit_]
        assert agrees == pytest.approx(plain_acceptance(generator, text, exit_, GREEDY))
        assert likely == pytest.approx(plain_acceptance(generator, text, exit_, drawn))


@torch.no_grad()
def plain_acceptance(generator: TextGenerator, text: list[int], exit_: int, options: GenerationOptions) -> float:
    model, total = generator.model, 0.0
    for end in range(len(text) - 8, len(text)):
        states, logits = model.embed(torch.tensor([text[:end]])), []
        for index, block in enumerate(model.blocks):
            states = block(states)
            logits.append(model.head_weight(index) @ model.readout(index, states)[0, -1])
        if options.temperature == 0:
            total += float(logits[exit_].argmax() == logits[-1].argmax())
        else:
            draft, whole = (distribution(each, options) for each in (logits[exit_], logits[-1]))
            total += 1 - 0.5 * float((draft - whole).abs().sum())
    return total / 8


@pytest.mark.parametrize(("tokens", "window", "expected"), [(8, None, 0), (20, None, 6), (20, 32, 0), (3, 1, 3)])
def test_tokens_with_a_full_window_are_counted(
    generator: TextGenerator, tokens: int, window: int | None, expected: int
) -> None:
    options = GenerationOptions(tokens, window=window)
    passes = [one.verified for one in write_speculatively(generator, "w1 w2", Drafting(0, 2), options)]
    found = undrafted(generator, [1, 2], passes, window)
    assert max(0, expected - 1) <= found <= expected  # a pass may fill the window and write one more
    assert not any(one.drafted for one in passes[len(passes) - found :])


def test_a_pretrained_model_has_its_whole_context_for_a_window(generator: TextGenerator) -> None:
    own = generator.config
    source = own.model.model_copy(update={"source": "hf:some/model"})
    pretrained = replace(generator, config=own.model_copy(update={"model": source}))
    options, text = GenerationOptions(20, temperature=0, window=32), [index % 19 for index in range(28)]
    passes = [one.verified for one in write_speculatively(generator, "w1 w2", Drafting(0, 2), options)]
    assert undrafted(pretrained, [1, 2], passes, None) == 0 < undrafted(generator, [1, 2], passes, None)
    sliding = replace(options, window=None)
    expected = acceptance_by_exit(generator, text, 20, replace(options, temperature=1.0))
    assert acceptance_by_exit(pretrained, text, 20, replace(sliding, temperature=1.0)) == expected


def test_it_begins_as_plain_generation_does(generator: TextGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(generator.vocabulary), "beginning", 3)
    data = generator.config.data.model_copy(update={"bos_token": True})
    begun = replace(generator, config=generator.config.model_copy(update={"data": data}), thresholds=())
    assert begun.tokens("w1") == [3, *generator.tokens("w1")]
    plain = [piece.token.probability for piece in begun.write("w1", GREEDY)]
    passes = write_speculatively(begun, "w1", Drafting(1, 3), GREEDY)
    assert [piece.token.probability for one in passes for piece in one.pieces] == pytest.approx(plain)


def test_a_sweep_tries_every_exit_and_length_and_times_the_fastest(
    database: Path, generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speculation_sweep, "FINALISTS", 2)
    with Reader(database) as reader:
        prompts = prompts_of(reader, 1, 2, 8)
    assert [len(prompt) for prompt in prompts] == [8, 8]
    found = drained(sweep(generator, prompts, replace(GREEDY, max_tokens=4), lengths=(1, 3), rounds=2))
    assert [(trial.drafting.block, trial.drafting.length) for trial in found.trials] == [
        (exit_, length) for exit_ in (0, 1) for length in (1, 3, None)
    ]
    assert {trial.tally.tokens for trial in found.trials} == {8}
    timed = [trial for trial in found.trials if trial.speed]
    assert len(timed) == 2
    assert min(trial.screened for trial in timed) >= max(trial.screened for trial in found.trials if not trial.speed)
    assert found.best.speed == max((trial.speed for trial in timed if trial.speed), key=lambda speed: speed.ratio)
    assert len(found.acceptance) == 2
    assert not found.pays  # two rounds have no interval


def test_what_can_not_be_tried_is_refused(generator: TextGenerator) -> None:
    with pytest.raises(UsageError, match="--exit must be a block from 0 to 1"):
        drained(sweep(generator, [[1]], GREEDY, exits=(5,)))
    with pytest.raises(UsageError, match="--lengths must be at least 1, got 0"):
        drained(sweep(generator, [[1]], GREEDY, lengths=(2, 0)))
    with pytest.raises(UsageError, match="nothing to write after"):
        drained(sweep(generator, [], GREEDY))
