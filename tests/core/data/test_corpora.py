"""Training and evaluation text: where each comes from, and how a tail is held out."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.run_config import DataConfig
from core.data.corpora import NEAR, hold_out_tail, load_corpus
from core.errors import CorpusError

spaced_text = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n\t\x1c\u2003")), max_size=200)
ratios = st.floats(min_value=1e-6, max_value=10)
LONGEST_WORD = 12
words = st.text("abcdé", min_size=1, max_size=LONGEST_WORD)
ordinary_text = st.lists(st.tuples(words, st.sampled_from(" \n")), min_size=30, max_size=300).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)


@given(spaced_text, ratios)
@settings(deadline=None)
def test_the_parts_add_up_to_the_text(text: str, ratio: float) -> None:
    assert "".join(hold_out_tail(text, ratio)) == text


@given(spaced_text, ratios)
@settings(deadline=None)
def test_no_word_is_cut(text: str, ratio: float) -> None:
    train, tail = hold_out_tail(text, ratio)
    assert train.split() + tail.split() == text.split()


@given(ordinary_text, st.floats(min_value=0.05, max_value=5))
@settings(deadline=None)
def test_the_tail_is_the_asked_share_to_within_a_word_or_a_nearby_line(text: str, ratio: float) -> None:
    train, tail = hold_out_tail(text, ratio)
    asked = len(text) * ratio / (1 + ratio)
    assert abs(len(tail) - asked) <= max(NEAR * len(text), LONGEST_WORD) + 1
    assert train


def test_the_tail_begins_with_the_nearest_line_when_one_begins_nearby() -> None:
    text = "word " * 100 + "\n" + "word " * 100
    train, tail = hold_out_tail(text, 1.0)
    assert train.endswith("\n")
    assert tail == "word " * 100


def test_a_line_far_away_does_not_move_the_cut() -> None:
    text = "word\n" + "word " * 200
    train, tail = hold_out_tail(text, 1.0)
    assert abs(len(train) - len(tail)) < 10


def test_a_single_word_goes_to_one_part_whole() -> None:
    assert hold_out_tail("supercalifragilistic", 0.2) == ("", "supercalifragilistic")


def test_a_file_is_split_and_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("word\n" * 600)
    corpus = load_corpus(DataConfig(corpus=str(path), eval_ratio=0.2))
    assert corpus.name == str(path)
    assert (corpus.train, corpus.evaluation) == ("word\n" * 500, "word\n" * 100)


def test_an_evaluation_corpus_leaves_the_training_text_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("to train on")
    (tmp_path / "b.txt").write_text("to evaluate on")
    corpus = load_corpus(DataConfig(corpus=f"{tmp_path}/a.txt", eval_corpus=f"{tmp_path}/b.txt"))
    assert (corpus.train, corpus.evaluation) == ("to train on", "to evaluate on")


@pytest.mark.parametrize("text", ["", " \n\t\n", "\ufeff\r\n"])
def test_text_without_a_word_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode())
    with pytest.raises(CorpusError, match=r"a\.txt is empty: there is no word in it"):
        load_corpus(DataConfig(corpus=f"{tmp_path}/a.txt"))


def test_evaluation_text_without_a_word_is_refused_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / "b.txt").write_text("\n")
    with pytest.raises(CorpusError, match=r"b\.txt is empty"):
        load_corpus(DataConfig(corpus=f"{tmp_path}/a.txt", eval_corpus=f"{tmp_path}/b.txt"))


def test_a_missing_evaluation_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("fine")
    with pytest.raises(CorpusError, match=r"b\.txt does not exist"):
        load_corpus(DataConfig(corpus=f"{tmp_path}/a.txt", eval_corpus=f"{tmp_path}/b.txt"))
