"""Vocabularies: the report's words, and byte-level BPE, which is the same everywhere and cached."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.run_config import DataConfig
from core.data import tokenizers
from core.data.corpora import Corpus
from core.data.tokenizers import (
    PIECE_LENGTH,
    WordVocabulary,
    build_vocabulary,
    resolve_tokenizer,
    train_bpe,
)

TEXT = "The cat sat on the mat.\nDer Kater saß auf der Matte, und die Katze auch: 猫!\n" * 50
OTHER = "import numpy as np\nfor index in range(10):\n    print(index)\n" * 50


@given(st.text(), st.text())
@settings(deadline=None)
def test_words_are_those_of_lower_split_numbered_as_they_appear(first: str, second: str) -> None:
    vocabulary = WordVocabulary([first, second])
    numbers = {"<unk>": 0, "<pad>": 1}
    for word in first.lower().split() + second.lower().split():
        numbers.setdefault(word, len(numbers))
    assert vocabulary.size == len(numbers)
    assert list(vocabulary.encode(second)) == [numbers[word] for word in second.lower().split()]


def test_word_ids_decode_to_the_words() -> None:
    vocabulary = WordVocabulary(["The  cat\nSAT"])
    ids = list(vocabulary.encode("the cat sat"))
    assert ids == [2, 3, 4]
    assert vocabulary.tokens(ids) == ["the", "cat", "sat"]
    assert vocabulary.decode(ids) == "the cat sat"


def test_the_bytes_of_words_are_those_of_the_decoded_text_with_a_space_each() -> None:
    vocabulary = WordVocabulary(["The  Käter\nsaß"])
    ids = list(vocabulary.encode("the käter dog"))
    lengths = vocabulary.byte_lengths()
    assert sum(lengths[number] for number in ids) == len("the käter <unk> ".encode())


def test_a_word_never_seen_is_unk() -> None:
    assert list(WordVocabulary(["the cat"]).encode("the dog")) == [2, 0]


def test_encoding_can_be_stopped_early() -> None:
    ids = WordVocabulary([TEXT]).encode(TEXT)
    assert [next(ids), next(ids)] == [2, 3]


@pytest.mark.parametrize(
    ("corpus", "tokenizer", "meant"),
    [
        ("pydocs", "auto", "bpe"),
        ("a.txt", "auto", "word"),
        ("hub:x", "auto", "word"),
        ("pydocs", "word", "word"),
        ("a.txt", "bpe", "bpe"),
    ],
)
def test_auto_is_bpe_for_pydocs_and_word_for_the_rest(corpus: str, tokenizer: Any, meant: str) -> None:
    assert resolve_tokenizer(DataConfig(corpus=corpus, tokenizer=tokenizer)) == meant


def test_the_word_vocabulary_knows_both_texts() -> None:
    vocabulary = build_vocabulary(Corpus("a.txt", "one two", "two three"), DataConfig(corpus="a.txt"))
    assert vocabulary.name == "word"
    assert vocabulary.size == 5


def test_bpe_is_trained_on_the_training_text_alone() -> None:
    config = DataConfig(corpus="a.txt", tokenizer="bpe", vocab_size=300)
    built = build_vocabulary(Corpus("a.txt", TEXT, OTHER), config)
    assert built.name == "bpe"
    assert list(built.encode(OTHER)) == list(train_bpe(TEXT, 300).encode(OTHER))


@given(st.text())
@settings(deadline=None)
def test_bpe_decodes_every_text_to_itself(text: str) -> None:
    vocabulary = train_bpe(TEXT, 300)
    ids = list(vocabulary.encode(text))
    assert vocabulary.decode(ids) == text
    assert all(0 <= number < vocabulary.size for number in ids)
    lengths = vocabulary.byte_lengths()
    assert sum(lengths[number] for number in ids) == len(text.encode())


@pytest.mark.parametrize("length", [PIECE_LENGTH - 1, PIECE_LENGTH, PIECE_LENGTH + 1, 3 * PIECE_LENGTH])
def test_bpe_decodes_lines_longer_than_a_piece_to_themselves(length: int) -> None:
    text = "short\n" + ("naïve 猫 " * length)[:length] + "\n\nshort\n"
    vocabulary = train_bpe(TEXT, 300)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_bpe_cuts_a_long_text_at_lines_so_that_no_word_is_split() -> None:
    line = "conversation\n"
    assert PIECE_LENGTH % len(line) not in (0, len(line) - 1), "a cut there would split no word"
    vocabulary = train_bpe(line * 10, 300)
    times = 2 * PIECE_LENGTH // len(line)
    assert list(vocabulary.encode(line * times)) == list(vocabulary.encode(line)) * times


def test_bpe_has_the_asked_size_and_fewer_when_nothing_is_left_to_merge() -> None:
    assert train_bpe(TEXT + OTHER, 300).size == 300
    assert 256 <= train_bpe("", 300).size < 300


def test_part_of_a_character_shows_as_a_replacement_character() -> None:
    vocabulary = train_bpe("", 257)
    assert vocabulary.tokens(vocabulary.encode("a猫")) == ["a", "\ufffd", "\ufffd", "\ufffd"]


def test_a_trained_bpe_is_cached_for_its_text_and_size(cache: Path) -> None:
    ids = list(train_bpe(TEXT, 300).encode(TEXT))
    (stored,) = cache.iterdir()
    assert list(train_bpe(TEXT, 300).encode(TEXT)) == ids
    assert list(cache.iterdir()) == [stored]
    train_bpe(TEXT, 301)
    train_bpe(OTHER, 300)
    assert len(list(cache.iterdir())) == 3


def test_a_cached_bpe_is_used_not_trained_again(cache: Path) -> None:
    train_bpe(TEXT, 300)
    (stored,) = cache.iterdir()
    other = train_bpe(OTHER, 300)
    (planted,) = set(cache.iterdir()) - {stored}
    shutil.copy(planted, stored)
    assert list(train_bpe(TEXT, 300).encode(TEXT)) == list(other.encode(TEXT))


@pytest.mark.parametrize("damage", [lambda raw: b"", lambda raw: raw[:-9], lambda raw: raw.replace(b"e", b"a")])
def test_a_corrupt_cached_bpe_is_trained_again_and_replaced(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    ids = list(train_bpe(TEXT, 300).encode(TEXT))
    (stored,) = cache.iterdir()
    whole = stored.read_bytes()
    stored.write_bytes(damage(whole))
    assert list(train_bpe(TEXT, 300).encode(TEXT)) == ids
    assert list(cache.iterdir()) == [stored]
    assert train_bpe(TEXT, 300).decode(ids) == TEXT


def test_bpe_ids_are_the_same_in_every_process(tmp_path: Path) -> None:
    program = (
        "import json, sys\n"
        "from core.data.tokenizers import train_bpe\n"
        "text = sys.stdin.buffer.read().decode()\n"
        "print(json.dumps(list(train_bpe(text, 400).encode(text))))\n"
    )
    outputs = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        environment["EETUI_CACHE"] = str(tmp_path / seed)
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=(TEXT + OTHER).encode(),
            capture_output=True,
            env=environment,
            check=True,
        )
        assert done.stderr == b""
        outputs.append(json.loads(done.stdout))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 100


@pytest.mark.parametrize(("can_start", "expected"), [(10_000, "true"), (3, "false")])
def test_the_library_shares_its_work_out_only_where_it_can_start_the_threads(
    can_start: int, expected: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "")
    monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    monkeypatch.setattr(tokenizers, "startable", lambda most: min(most, can_start))
    train_bpe("one two two three three three", 270)
    assert os.environ["TOKENIZERS_PARALLELISM"] == expected
