"""Tokenizers: whole words, as in the seed report, byte-level BPE, or a pretrained model's own."""

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Protocol

import tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from core.config.run_config import DataConfig
from core.data.cache import recall, remember
from core.data.corpora import Corpus
from core.data.readers._contract import VocabularyName
from core.data.readers._load import source
from core.machine.cores import allowed_cores
from core.machine.interruptible import interruptible
from core.machine.thread_count import SPARE, startable
from core.pretrained.place import OWN, is_pretrained

UNKNOWN, PADDING = "<unk>", "<pad>"
WORD = re.compile(r"\S+")
PIECE_LENGTH = 1 << 16
"""Characters that the bpe tokenizer encodes at once."""
PIECES_PER_BATCH = 16
LONGEST_TRAINED = 256
"""Characters without a blank that the bpe tokenizer learns from together; of longer ones it would learn for hours."""
UNBROKEN = re.compile(rf"\S{{{LONGEST_TRAINED}}}(?=\S)")
WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"
"""Sign of a leading space in the tokens of SentencePiece."""
BYTE_LEVEL_SPACE = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"
"""A space among the tokens of byte-level BPE, which all such tokenizers have."""
ONE_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class Vocabulary(Protocol):
    """The tokens of a corpus, numbered from 0 to `size` - 1."""

    @property
    def name(self) -> VocabularyName:
        """Name of its tokenizer."""

    @property
    def size(self) -> int:
        """Number of tokens."""

    @property
    def beginning(self) -> int | None:
        """Token that marks the beginning of a text; None if there is none."""

    def encode(self, text: str) -> Iterator[int]:
        """Yield the token ids of a text, piece by piece; the consumer may stop early."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the tokens together."""

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Return each token as text to show; a part of a character becomes U+FFFD."""

    def byte_lengths(self) -> list[int]:
        """Return the number of UTF-8 bytes that each token adds to a decoded text, by its id."""


class WordVocabulary:
    """The report's words, `lower().split()`: `<unk>` is 0, `<pad>` 1, then words in order of appearance."""

    name: VocabularyName = "word"
    beginning = None

    def __init__(self, texts: Iterable[str]) -> None:
        words = itertools.chain((UNKNOWN, PADDING), *map(_words, texts))
        self._words = list(dict.fromkeys(words))
        self._ids = {word: number for number, word in enumerate(self._words)}

    @property
    def size(self) -> int:
        return len(self._words)

    def encode(self, text: str) -> Iterator[int]:
        unknown = self._ids[UNKNOWN]
        return (self._ids.get(word, unknown) for word in _words(text))

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self.tokens(ids))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        return [self._words[number] for number in ids]

    def byte_lengths(self) -> list[int]:
        """Count each word as it is decoded: in lower case, `<unk>` as it is written, with one space."""
        return [len(word.encode()) + 1 for word in self._words]


class BpeVocabulary:
    """Byte-level BPE: it can encode every text, and `decode(encode(text))` is the text."""

    name: VocabularyName = "bpe"
    beginning: int | None = None

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> Iterator[int]:
        pieces = _pieces(text)
        while batch := list(itertools.islice(pieces, PIECES_PER_BATCH)):
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                yield from encoding.ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode(list(ids))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        return [self._tokenizer.decode([number]) for number in ids]

    def byte_lengths(self) -> list[int]:
        """Count the bytes of the text itself: each character of a byte-level token stands for one."""
        return [len(self._tokenizer.id_to_token(number) or "") for number in range(self.size)]


class ModelVocabulary(BpeVocabulary):
    """A pretrained model's own tokens, without those that mark the beginning of a text.

    Args:
        size: number of tokens that the model predicts; those beyond the tokenizer's are no text.
        beginning: token that marks the beginning of a text, which `encode` leaves out.
    """

    name: VocabularyName = "model"

    def __init__(self, tokenizer: tokenizers.Tokenizer, size: int, beginning: int | None = None) -> None:
        super().__init__(tokenizer)
        self._size, self.beginning = size, beginning

    @property
    def size(self) -> int:
        return self._size

    def tokens(self, ids: Iterable[int]) -> list[str]:
        return [self._token(number) for number in ids]

    def byte_lengths(self) -> list[int]:
        """Count the bytes of the text: a character of a byte-level token is one, `<0x0A>` is, others as in UTF-8."""
        byte_level = self._tokenizer.token_to_id(BYTE_LEVEL_SPACE) is not None
        pieces = [self._tokenizer.id_to_token(number) or "" for number in range(self.size)]
        return [len(piece) if byte_level else _piece_bytes(piece) for piece in pieces]

    def _token(self, number: int) -> str:
        """Decode one token; some decoders drop the space that a token begins with, as at the start of a text."""
        text = self._tokenizer.decode([number], skip_special_tokens=False)
        starts_word = (self._tokenizer.id_to_token(number) or "").startswith(WORD_START)
        return f" {text}" if starts_word and not text.startswith(" ") else text


def _piece_bytes(piece: str) -> int:
    """Count the bytes of a SentencePiece token."""
    return 1 if ONE_BYTE.fullmatch(piece) else len(piece.replace(WORD_START, " ").encode())


def resolve_tokenizer(config: DataConfig, model: str = OWN) -> VocabularyName:
    """Return the config's tokenizer; `auto` is the pretrained model's, else that of the corpus's reader.

    Args:
        model: the model's source, `ModelConfig.source`.
    """
    if is_pretrained(model):
        return "model"
    return source(config.corpus).reader.tokenizer if config.tokenizer == "auto" else config.tokenizer


def build_vocabulary(corpus: Corpus, config: DataConfig, model: str = OWN) -> Vocabulary:
    """Build the vocabulary of a corpus: from both its texts for word, from its training text only for bpe.

    Args:
        model: the model's source; a pretrained one has its vocabulary already.

    Raises:
        ConfigError: the pretrained model's tokenizer can't be had.
    """
    if is_pretrained(model):
        return model_vocabulary(model)
    if resolve_tokenizer(config) == "word":
        return WordVocabulary((corpus.train, corpus.evaluation))
    return train_bpe(corpus.train, config.vocab_size)


def model_vocabulary(model: str) -> ModelVocabulary:
    """Load the vocabulary of a pretrained model, by its source.

    Raises:
        ConfigError: it can't be had.
    """
    from core.pretrained.tokenizer import load_tokenizer  # with it comes transformers

    _settle_parallelism()
    return ModelVocabulary(*load_tokenizer(model))


def train_bpe(text: str, vocab_size: int) -> BpeVocabulary:
    """Train byte-level BPE with at most `vocab_size` tokens, fewer if the text has no more pairs to merge.

    The same text gives the same tokens, so the trained tokenizer is cached under the text's fingerprint.
    """
    _settle_parallelism()
    name = f"bpe-{_fingerprint(text, vocab_size)}.json"
    cached = recall(name)
    if cached is not None:
        return BpeVocabulary(tokenizers.Tokenizer.from_str(cached.decode()))
    tokenizer = _untrained_bpe()
    interruptible(partial(tokenizer.train_from_iterator, _short_pieces(text), _bpe_trainer(vocab_size)))
    remember(name, tokenizer.to_str().encode())
    return BpeVocabulary(tokenizer)


def _settle_parallelism() -> None:
    """Let the library use all processors if that many threads can be started; it fails otherwise.

    Whatever its value, the variable also keeps the library from writing a warning to the terminal after a fork.
    """
    if "TOKENIZERS_PARALLELISM" not in os.environ:
        wanted = len(allowed_cores()) + SPARE
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if startable(wanted) == wanted else "false"


def _untrained_bpe() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer


def _bpe_trainer(vocab_size: int) -> BpeTrainer:
    return BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )


def _fingerprint(text: str, vocab_size: int) -> str:
    settings = f"{vocab_size} {PIECE_LENGTH} {tokenizers.__version__}\n"
    settings += f"{LONGEST_TRAINED}\n" if UNBROKEN.search(text) else ""
    return hashlib.sha256(settings.encode() + text.encode()).hexdigest()


def _words(text: str) -> Iterator[str]:
    """Return the items of `text.lower().split()` as an iterator."""
    return (match[0] for match in WORD.finditer(text.lower()))


def _short_pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces in which nothing without a blank is longer than `LONGEST_TRAINED` characters."""
    for piece in _pieces(text):
        start = 0
        for unbroken in UNBROKEN.finditer(piece):
            yield piece[start : unbroken.end()]
            start = unbroken.end()
        yield piece[start:]


def _pieces(text: str) -> Iterator[str]:
    """Yield the text in pieces of whole lines, at most `PIECE_LENGTH` characters each; longer lines are cut."""
    start = 0
    while start < len(text):
        line_end = text.rfind("\n", start, start + PIECE_LENGTH) + 1
        end = line_end or start + PIECE_LENGTH
        yield text[start:end]
        start = end
