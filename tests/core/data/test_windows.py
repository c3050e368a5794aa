"""Windows, compared with a plain loop, and corpora that are too small."""

import hashlib
import struct
from array import array
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.run_config import DataConfig
from core.data.windows import cut_windows, fingerprint, load_dataset, overlapping
from core.errors import ConfigError, CorpusError


def plain_windows(tokens: list[int], seq_len: int, batch_size: int) -> tuple[list[list[int]], list[list[int]]]:
    inputs, targets = [], []
    start = 0
    while start + seq_len + 1 <= len(tokens):
        inputs.append(tokens[start : start + seq_len])
        targets.append(tokens[start + 1 : start + seq_len + 1])
        start += seq_len
    while len(inputs) % batch_size:
        inputs.pop()
        targets.pop()
    return inputs, targets


@given(st.lists(st.integers(0, 999), max_size=120), st.integers(1, 9), st.integers(1, 5))
@settings(deadline=None)
def test_windows_are_those_of_a_plain_loop_in_full_batches(tokens: list[int], seq_len: int, batch_size: int) -> None:
    windows = cut_windows(array("i", tokens), seq_len, batch_size)
    inputs, targets = plain_windows(tokens, seq_len, batch_size)
    assert windows.inputs.tolist() == inputs
    assert windows.targets.tolist() == targets
    for part in (windows.inputs, windows.targets):
        assert part.shape == (len(inputs), seq_len)
        assert part.dtype == torch.int64


def test_the_fingerprint_is_sha256_of_size_lengths_and_tokens() -> None:
    layout = struct.pack("<qq3iq2i", 70, 3, 1, 2, 3, 2, 4, 5)
    assert fingerprint((array("i", [1, 2, 3]), array("i", [4, 5])), 70) == hashlib.sha256(layout).hexdigest()


def test_the_fingerprint_tells_tokens_vocabulary_and_split_apart() -> None:
    def of(train: list[int], evaluation: list[int], size: int) -> str:
        return fingerprint((array("i", train), array("i", evaluation)), size)

    prints = [
        of([1, 2], [3], 9),
        of([1, 2], [3], 10),
        of([1, 4], [3], 9),
        of([1, 2], [4], 9),
        of([1], [2, 3], 9),
        of([1, 2, 3], [], 9),
    ]
    assert len(set(prints)) == len(prints)


def numbered(path: Path, count: int) -> str:
    """Write a file of this many different words, one a line; return its path."""
    path.write_text("".join(f"w{number}\n" for number in range(count)))
    return str(path)


def config(corpus: str, **changes: Any) -> DataConfig:
    return DataConfig.model_validate({"corpus": corpus, "seq_len": 4, "num_samples": 20, "eval_ratio": 0.5} | changes)


def test_the_front_of_each_text_is_taken_up_to_its_limit(tmp_path: Path) -> None:
    train, evaluation = numbered(tmp_path / "a.txt", 1000), numbered(tmp_path / "b.txt", 1000)
    dataset = load_dataset(config(train, eval_corpus=evaluation), batch_size=1)
    tokens = list(range(2, 1002))
    assert dataset.train.inputs.tolist() == plain_windows(tokens[: 20 * 5], 4, 1)[0]
    assert dataset.evaluation.targets.tolist() == plain_windows(tokens[: 10 * 5], 4, 1)[1]
    assert dataset.vocabulary.size == 1002
    assert dataset.corpus_name == train


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_all_windows_are_kept_whatever_the_batch(batch_size: int, tmp_path: Path) -> None:
    dataset = load_dataset(config(numbered(tmp_path / "a.txt", 1000), full_batches=False), batch_size)
    assert (len(dataset.train.inputs), len(dataset.evaluation.inputs)) == (24, 12)


def test_only_full_batches_are_kept_where_the_config_says_so(tmp_path: Path) -> None:
    dataset = load_dataset(config(numbered(tmp_path / "a.txt", 1000)), batch_size=7)
    assert len(dataset.train.inputs) == 21  # of 24
    assert len(dataset.evaluation.inputs) == 7  # of 12


def test_the_fingerprint_ignores_batch_size_and_what_was_not_taken(tmp_path: Path) -> None:
    train, evaluation = tmp_path / "a.txt", tmp_path / "b.txt"
    data = config(numbered(train, 1000), eval_corpus=numbered(evaluation, 1000))
    reference = load_dataset(data, batch_size=1).fingerprint
    assert load_dataset(data, batch_size=7).fingerprint == reference
    train.write_text(train.read_text() + "w1 w2")
    assert load_dataset(data, batch_size=1).fingerprint == reference


@pytest.mark.parametrize(
    ("old", "new"),
    [("w3\n", "w2\n"), ("w999\n", "w999\nnew\n")],
    ids=["another token", "a larger vocabulary"],
)
def test_the_fingerprint_changes_with_tokens_and_vocabulary(tmp_path: Path, old: str, new: str) -> None:
    train = tmp_path / "a.txt"
    data = config(numbered(train, 1000), eval_corpus=numbered(tmp_path / "b.txt", 1000))
    reference = load_dataset(data, batch_size=1).fingerprint
    train.write_text(train.read_text().replace(old, new))
    assert load_dataset(data, batch_size=1).fingerprint != reference


def test_bpe_windows_hold_the_text(tmp_path: Path) -> None:
    data = config(numbered(tmp_path / "a.txt", 1000), tokenizer="bpe", vocab_size=300)
    dataset = load_dataset(data, batch_size=1)
    assert dataset.vocabulary.decode(dataset.train.inputs.flatten().tolist()).startswith("w0\nw1\nw2\n")


def test_the_evaluated_bytes_are_those_of_the_targets(tmp_path: Path) -> None:
    data = config(numbered(tmp_path / "a.txt", 1000), tokenizer="bpe", vocab_size=300)
    dataset = load_dataset(data, batch_size=1)
    assert dataset.evaluated_bytes == len(dataset.vocabulary.decode(dataset.evaluation.targets.flatten().tolist()))


def test_windows_move_to_a_device() -> None:
    windows = cut_windows(array("i", range(9)), 4, 1).to(torch.device("meta"))
    assert windows.inputs.device.type == windows.targets.device.type == "meta"


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_a_corpus_of_one_word_is_too_small(tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "a.txt").write_text("word")
    with pytest.raises(
        CorpusError, match=r"a\.txt gives 0 training windows of 4 tokens, but 2 are needed: take a longer"
    ):
        load_dataset(config(f"{tmp_path}/a.txt", tokenizer=tokenizer), batch_size=1)


def test_training_needs_a_full_batch(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match="gives 10 training windows of 4 tokens, but 16 are needed: take a longer text"
    ):
        load_dataset(config(numbered(tmp_path / "a.txt", 60)), batch_size=16)


def test_a_batch_of_one_still_needs_two_training_windows(tmp_path: Path) -> None:
    data = config(numbered(tmp_path / "a.txt", 8), eval_corpus=numbered(tmp_path / "b.txt", 100))
    with pytest.raises(CorpusError, match="gives 1 training windows of 4 tokens, but 2 are needed"):
        load_dataset(data, batch_size=1)


def test_training_windows_may_fail_for_the_configs_limit(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"but 64 are needed: take a larger data\.num_samples"):
        load_dataset(config(numbered(tmp_path / "a.txt", 9000)), batch_size=64)


@pytest.mark.parametrize("changes", [{"eval_ratio": 0.1}, {"eval_ratio": 0.01}])
def test_evaluation_windows_may_fail_for_the_configs_limit(tmp_path: Path, changes: dict[str, float]) -> None:
    data = config(numbered(tmp_path / "a.txt", 9000), **changes)
    with pytest.raises(CorpusError, match=r"evaluation windows .* a larger data\.num_samples or data\.eval_ratio"):
        load_dataset(data, batch_size=8)


def test_evaluation_text_that_is_too_short_is_named(tmp_path: Path) -> None:
    data = config(numbered(tmp_path / "a.txt", 1000), eval_corpus=numbered(tmp_path / "b.txt", 5))
    with pytest.raises(
        CorpusError, match=r"b\.txt gives 1 evaluation windows of 4 tokens, but 8 are needed: take a longer"
    ):
        load_dataset(data, batch_size=8)


@given(st.integers(1, 5), st.integers(1, 6), st.data(), st.booleans())
@settings(deadline=None)
def test_overlapping_windows_count_every_target_once_with_what_came_before(
    count: int, seq_len: int, data: st.DataObject, begun: bool
) -> None:
    stride, tokens = data.draw(st.integers(1, seq_len)), list(range(100, 101 + count * seq_len))
    windows, counts = overlapping(cut_windows(array("i", tokens), seq_len, 1, 7 if begun else None), stride)
    assert windows.targets[counts].tolist() == tokens[1:]
    first = windows.targets[:, 0] - 1
    assert windows.inputs[:, 0].tolist() == ([7] * len(first) if begun else first.tolist())
    assert torch.equal(windows.inputs[:, 1:], windows.targets[:, :-1])
    assert windows.targets[:, 0].tolist() == [101 + stride * number for number in range(len(first))]
    assert counts[0].all()
    assert int(counts[1:].sum(1).max() if len(counts) > 1 else 0) <= stride


def test_a_token_for_the_beginning_is_the_tokenizer_s_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.core.backbones.tiny import save_tiny

    text = tmp_path / "text.txt"
    text.write_text("w1 w2 w3 w4 " * 40)
    given = DataConfig(corpus=str(text), seq_len=4, num_samples=10, bos_token=True, full_batches=False)
    with pytest.raises(ConfigError, match="the tokenizer of plain has no beginning-of-text token"):
        load_dataset(given, 1, f"hf:{save_tiny(tmp_path / 'plain')}")
    found = load_dataset(given, 1, f"hf:{save_tiny(tmp_path / 'begins', bos_token='w0')}").train
    assert found.inputs[:, 0].tolist() == [1] * len(found.inputs)
    without = load_dataset(given.model_copy(update={"bos_token": False}), 1, f"hf:{tmp_path / 'begins'}").train
    assert torch.equal(found.targets, without.targets)
    assert torch.equal(found.inputs[:, 1:], without.inputs[:, 1:])
