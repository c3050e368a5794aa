"""The vocabulary of a pretrained model: byte-level BPE as GPT-2 has it, and SentencePiece as Llama has it."""

from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from core.config.sections import DataConfig
from core.data import windows
from core.data.tokenizers import ModelVocabulary, train_bpe
from core.errors import CorpusError

TEXT = "naïve words and naïve numbers, 1 2 3\n" * 20


def sentence_piece() -> ModelVocabulary:
    pieces = {"<unk>": 0, "<0x0A>": 1, "▁": 2, "▁a": 3, "b": 4, "é": 5}
    tokenizer = tokenizers.Tokenizer(models.BPE(pieces, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return ModelVocabulary(tokenizer, 8)


def byte_level(beyond: int = 0) -> ModelVocabulary:
    own = train_bpe(TEXT, 300)
    return ModelVocabulary(own._tokenizer, own.size + beyond)


def test_the_bytes_of_tokens_add_up_to_those_of_the_text() -> None:
    vocabulary = byte_level(beyond=3)
    lengths = vocabulary.byte_lengths()
    assert sum(lengths[token] for token in vocabulary.encode(TEXT)) == len(TEXT.encode())
    assert (len(lengths), lengths[-3:]) == (vocabulary.size, [0, 0, 0])


def test_pieces_count_as_they_are_decoded() -> None:
    assert sentence_piece().byte_lengths() == [5, 1, 1, 2, 1, 2, 0, 0]


def test_a_token_keeps_the_space_it_begins_with() -> None:
    assert sentence_piece().tokens([3, 4]) == [" a", "b"]
    assert "".join(byte_level().tokens(byte_level().encode("words and"))) == "words and"


def test_tokens_beyond_the_tokenizer_s_are_no_text() -> None:
    vocabulary = byte_level(beyond=2)
    assert vocabulary.tokens(range(vocabulary.size))[-2:] == ["", ""]


def test_a_text_that_the_tokenizer_does_not_know_is_not_called_too_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("words that it has no letters of\n" * 1000)
    silent = ModelVocabulary(tokenizers.Tokenizer(models.BPE({"\u0436": 0}, [])), 1)
    monkeypatch.setattr(windows, "build_vocabulary", lambda *_: silent)
    given = DataConfig(corpus=str(text), seq_len=4, num_samples=10)
    with pytest.raises(CorpusError, match=r"as the tokenizer of odd makes 0 tokens of its 2\d,\d+ characters: check"):
        windows.load_dataset(given, 2, "hf:some/odd")
