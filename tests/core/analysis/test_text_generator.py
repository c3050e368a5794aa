"""Text from stored runs: thresholds, vocabularies, and how it is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.analysis.text_generator import Piece, Writer, _pieces, open_writer, shares, thresholds_set
from core.config.run_config import Layer, RunConfig, build, set_layer
from core.data.tokenizers import train_bpe
from core.early_exit.generation import GeneratedToken
from core.early_exit.sampling import GenerationOptions
from core.errors import RunLookupError, UsageError
from core.events import Threshold
from core.session.plan import Plan
from core.session.prepare import prepare
from core.session.run import run_experiment
from core.store.files import delete_checkpoint
from core.store.reader import Reader
from core.store.writer import Writer as Store
from eetui.generate.text import block_look, generated_text, generation_json, legend
from tests.conftest import TINY, TINY_TRAINING

GREEDY = GenerationOptions(max_tokens=12, temperature=0)


def trained(path: Path, text: Path, **values: Any) -> int:
    """Train a tiny run into a database of its own; its number."""
    config = build([*map(set_layer, (*TINY, *TINY_TRAINING)), Layer("test", {"corpus": str(text), **values})])
    with Store(path) as store:
        prepared = prepare(Plan((config,), (None,)), store)
        assert run_experiment(prepared, store, lambda run, events: None) == ["finished"]
    return prepared.runs[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def corpus(text: Path, tmp_path: Path) -> Path:
    """A copy of the text, to be changed."""
    copy = tmp_path / "text.txt"
    copy.write_text(text.read_text())
    return copy


def opened(path: Path, run: int) -> Writer:
    with Reader(path) as reader:
        return open_writer(reader, run)


def test_a_run_of_words_writes_without_its_corpus(path: Path, corpus: Path) -> None:
    run = trained(path, corpus, tokenizer="word")
    corpus.unlink()
    writer = opened(path, run)
    pieces = list(writer.write("W1 w2", GREEDY))
    assert len(pieces) == 12
    words = "".join(piece.text for piece in pieces)
    assert words[0] == " "
    assert all(word in {f"w{number}" for number in range(20)} for word in words.split())
    assert [writer.unknown(prompt) for prompt in ("w1 W2", "w1 never heard")] == [0, 2]


def test_the_text_is_the_same_each_time(path: Path, text: Path) -> None:
    writer = opened(path, trained(path, text))
    first, again, other = (list(writer.write("w1", GenerationOptions(20, seed=seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_bpe_run_reads_its_corpus_again_and_sees_when_it_has_changed(path: Path, corpus: Path) -> None:
    run = trained(path, corpus, tokenizer="bpe", vocab_size=300)
    writer = opened(path, run)
    assert len(list(writer.write("w1 w2", GREEDY))) == 12
    assert writer.unknown("never heard") == 0
    corpus.write_text(corpus.read_text().replace("w1", "x1"))
    with pytest.raises(UsageError, match="no longer the text"):
        opened(path, run)


def test_a_run_without_its_weights_is_refused(path: Path, text: Path) -> None:
    run = trained(path, text)
    delete_checkpoint(path, run)
    with pytest.raises(UsageError, match="does not hold the run's weights"):
        opened(path, run)
    with pytest.raises(RunLookupError):
        opened(path, run + 1)


def test_an_empty_prompt_is_refused_before_anything_is_written(path: Path, text: Path) -> None:
    writer = opened(path, trained(path, text))
    with pytest.raises(UsageError, match="no token"):
        writer.write(" ")


def config(**values: Any) -> RunConfig:
    return build([Layer("test", {"block_layers": (1, 1, 2), **values})])


def threshold(stage: str, block: int, value: float) -> Threshold:
    return Threshold(stage, block, value, 10, 5, (0,) * 50)


def test_the_latest_thresholds_count_and_the_last_block_has_none() -> None:
    events = [
        threshold("block0.hard", 0, 0.1),
        threshold("block1.hard", 1, 0.2),
        threshold("block2.hard", 2, 0.3),
        threshold("block0.threshold", 0, 0.4),
    ]
    assert thresholds_set(events, config(), "run") == (0.4, 0.2)
    assert thresholds_set([], config(protocol="full_depth"), "run") == ()
    with pytest.raises(UsageError, match="run has not set its thresholds yet"):
        thresholds_set(events[:1], config(), "run")


def test_bytes_of_a_character_wait_for_the_others() -> None:
    vocabulary = train_bpe("aé😀", 256)
    tokens = [GeneratedToken(number, 0, (), 1.0) for number in vocabulary.encode("a😀éa")]
    pieces = [piece.text for piece in _pieces(vocabulary, iter(tokens), "a")]
    assert pieces == ["a", "", "", "", "😀", "", "é", "a"]
    broken = [piece.text for piece in _pieces(vocabulary, iter(tokens[1:2] * 5), "a")]
    assert broken[:3] == ["", "", ""]
    assert set(broken[3]) == {"\N{REPLACEMENT CHARACTER}"}


@pytest.fixture(scope="module")
def writer(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Writer:
    path = tmp_path_factory.mktemp("writer") / "runs.db"
    return opened(path, trained(path, text, exited_state="copy"))


PIECES = [
    Piece(" one", GeneratedToken(2, 0, (0.9,), 0.25)),
    Piece(" two", GeneratedToken(3, 1, (0.1,), 0.5)),
    Piece(" four", GeneratedToken(4, 1, (0.1,), 0.5)),
    Piece(" five", GeneratedToken(5, 1, (0.1,), 0.5)),
]


def test_each_block_has_a_look_that_needs_no_colour() -> None:
    marks = {(style.underline, style.italic, style.bold) for style in map(block_look, range(6))}
    assert len(marks) == 6
    text = generated_text("Say", PIECES)
    assert text.plain == "Say one two four five"
    spans = [(text.plain[span.start : span.end], span.style) for span in text.spans]
    assert ("one", block_look(0)) in spans
    assert ("two", block_look(1)) in spans


def test_the_legend_says_where_tokens_came_from_and_what_that_saved(writer: Writer) -> None:
    found = shares(writer, [piece.token for piece in PIECES])
    assert found.blocks == (0.25, 0.75)
    assert found.layer_savings == 0.125
    assert 0 < found.flop_savings < 0.125
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(legend(writer, found, 2.0, 4))
    first, second = capture.get().splitlines()
    assert first.strip() == "block 0 25.00%   block 1 75.00%"
    assert second.startswith("layers saved 12.50%, FLOPs ")
    assert second.endswith("   2 tokens/s")


def test_json_holds_every_token(writer: Writer) -> None:
    found = json.loads(generation_json(writer, "Say", PIECES, shares(writer, [piece.token for piece in PIECES])))
    assert found["text"] == " one two four five"
    assert found["tokens"][0] == {"token": 2, "text": " one", "block": 0, "signals": [0.9], "probability": 0.25}
    assert found["exit_shares"] == [0.25, 0.75]
    assert len(found["thresholds"]) == 1
