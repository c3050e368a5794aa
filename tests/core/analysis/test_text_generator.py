"""Text from stored runs: vocabularies, refusals, and the blocks that predict the tokens."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models

from core.analysis.text_generator import TextGenerator, as_pieces, open_generator, origins
from core.data.tokenizers import ModelVocabulary, train_bpe
from core.early_exit.generation import GeneratedToken
from core.early_exit.sampling import GenerationOptions
from core.errors import RunLookupError, UsageError
from core.protocol import checkpoint
from core.store.files import delete_checkpoint
from core.store.reader import Reader
from tests.trained_run import train_run

GREEDY = GenerationOptions(max_tokens=12, temperature=0)


@pytest.fixture
def corpus(text: Path, tmp_path: Path) -> Path:
    """Copy the text, for a test to change it."""
    copy = tmp_path / "text.txt"
    copy.write_text(text.read_text())
    return copy


def opened(path: Path, run: int) -> TextGenerator:
    with Reader(path) as reader:
        return open_generator(reader, run)


def test_a_run_of_words_writes_without_its_corpus(path: Path, corpus: Path) -> None:
    run = train_run(path, corpus, tokenizer="word")
    corpus.unlink()
    generator = opened(path, run)
    pieces = list(generator.write("W1 w2", GREEDY))
    assert len(pieces) == 12
    words = "".join(piece.text for piece in pieces)
    assert words[0] == " "
    assert all(word in {f"w{number}" for number in range(20)} for word in words.split())
    assert [generator.unknown(prompt) for prompt in ("w1 W2", "w1 never heard")] == [0, 2]


def test_the_text_is_the_same_each_time(path: Path, text: Path) -> None:
    generator = opened(path, train_run(path, text))
    first, again, other = (list(generator.write("w1", GenerationOptions(20, seed=seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_bpe_run_reads_its_corpus_again_and_sees_when_it_has_changed(path: Path, corpus: Path) -> None:
    run = train_run(path, corpus, tokenizer="bpe", vocab_size=300)
    generator = opened(path, run)
    assert len(list(generator.write("w1 w2", GREEDY))) == 12
    assert generator.unknown("never heard") == 0
    corpus.write_text(corpus.read_text().replace("w1", "x1"))
    with pytest.raises(UsageError, match="no longer the text"):
        opened(path, run)


def test_a_run_without_its_weights_is_refused_before_a_model_is_built(
    path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "build_model", lambda *_: pytest.fail("nothing may be built"))
    run = train_run(path, text)
    delete_checkpoint(path, run)
    with pytest.raises(UsageError, match="does not hold the run's weights"):
        opened(path, run)
    with pytest.raises(RunLookupError):
        opened(path, run + 1)


def test_an_empty_prompt_is_refused_before_anything_is_written(path: Path, text: Path) -> None:
    generator = opened(path, train_run(path, text))
    with pytest.raises(UsageError, match="no token"):
        generator.write(" ")


def test_bytes_of_a_character_wait_for_the_others() -> None:
    vocabulary = train_bpe("aé😀", 256)
    tokens = [GeneratedToken(number, 0, (), 1.0) for number in vocabulary.encode("a😀éa")]
    pieces = [piece.text for piece in as_pieces(vocabulary, iter(tokens), [*vocabulary.encode("xa")], "a")]
    assert pieces == ["a", "", "", "", "😀", "", "é", "a"]
    broken = [piece.text for piece in as_pieces(vocabulary, iter(tokens[1:2] * 5), [], "a")]
    assert broken[:3] == ["", "", ""]
    assert set(broken[3]) == {"\N{REPLACEMENT CHARACTER}"}


@pytest.mark.parametrize(("prompt", "expected"), [("a", " b ab."), ("a ", "b ab."), ("a\n", "b ab.")])
@pytest.mark.parametrize("kind", ["SentencePiece", "words"])
def test_words_have_the_spaces_between_them_that_the_tokenizer_means(kind: str, prompt: str, expected: str) -> None:
    words = ["<unk>", "▁a", "▁b", "▁ab", ".", "▁"] if kind == "SentencePiece" else ["<unk>", "a", "b", "ab", ".", "_"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    if kind == "SentencePiece":  # as Llama 2 has it
        parts = [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(parts)
    tokens = [GeneratedToken(number, 0, (), 1.0) for number in (2, 3, 4)]
    pieces = as_pieces(ModelVocabulary(tokenizer, 6), iter(tokens), [1], prompt[-1:])
    assert "".join(piece.text for piece in pieces) == expected.replace(".", "." if kind == "SentencePiece" else " .")


def test_tokens_of_earlier_blocks_save_layers_and_flops(path: Path, text: Path) -> None:
    generator = opened(path, train_run(path, text, exited_state="copy"))
    found = origins(generator, [GeneratedToken(2, block, (0.5,), 0.25) for block in (0, 1, 1, 1)])
    assert found.blocks == (0.25, 0.75)
    assert found.layer_savings == 0.125
    assert 0 < found.flop_savings < 0.125


def test_deferred_tokens_save_only_what_no_later_token_needed(path: Path, text: Path) -> None:
    generator = opened(path, train_run(path, text, exited_state="deferred"))
    blocks = (0, 0, 1, 0)
    found = origins(generator, [GeneratedToken(2, block, (0.5,), 0.25) for block in blocks])
    assert found.blocks == (0.75, 0.25)
    assert found.layer_savings == 0.125
    assert 0 < found.flop_savings < 0.125
