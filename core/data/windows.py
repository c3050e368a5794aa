"""Windows of token streams, which a run trains and evaluates on."""

from __future__ import annotations  # array[int] can't be evaluated before Python 3.12

import hashlib
import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from core.config.run_config import DataConfig
from core.data.corpora import load_corpus
from core.data.tokenizers import Vocabulary, build_vocabulary
from core.errors import ConfigError, CorpusError
from core.pretrained.place import OWN, short_name

LEAST_TRAINING_WINDOWS = 2
"""Smallest number of training windows: one to train on, one for early stopping."""
LONGEST_WORDS = 100
"""Mean characters of a token from which on a text is taken to be without blanks, or of letters that have no tokens."""
LIMITING_KEYS = {"training": "data.num_samples", "evaluation": "data.num_samples or data.eval_ratio"}


@dataclass(frozen=True)
class Windows:
    """Consecutive windows of a token stream, with stride `seq_len`.

    Attributes:
        inputs: token ids, int64 `[windows, seq_len]`.
        targets: id of the token after each input, int64 `[windows, seq_len]`.
        beginning: token that every window begins with, in place of the one before its first target; None: that one.
    """

    inputs: Tensor
    targets: Tensor
    beginning: int | None = None

    def to(self, device: torch.device) -> Windows:
        """Return the windows on a device."""
        return Windows(self.inputs.to(device), self.targets.to(device), self.beginning)


@dataclass(frozen=True)
class Dataset:
    """The windows and the vocabulary of a corpus.

    `fingerprint` is the SHA-256, in hex, of the vocabulary size and the tokens taken from the training and the
    evaluation text. It does not depend on `batch_size`. `readers` is the run record's entry on the user's own corpus
    readers.
    """

    train: Windows
    evaluation: Windows
    vocabulary: Vocabulary
    corpus_name: str
    fingerprint: str
    readers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def evaluated_bytes(self) -> int:
        """UTF-8 bytes of the evaluation targets, as the vocabulary decodes them."""
        return int(torch.tensor(self.vocabulary.byte_lengths())[self.evaluation.targets].sum())


def load_dataset(data: DataConfig, batch_size: int, model: str = OWN) -> Dataset:
    """Read a corpus and cut the beginning of its texts into windows: all, or as many as fill batches (`full_batches`).

    It takes `num_samples * (seq_len + 1)` training tokens and `int(num_samples * eval_ratio) * (seq_len + 1)`
    evaluation tokens, or fewer if the text is shorter.

    Args:
        model: the model's source, `ModelConfig.source`.

    Raises:
        ConfigError: a pretrained model's tokenizer can't be had, or has no token for the beginning of a text.
        CorpusError: the text can't be read, or is too small for one window, or full batch, of either split.
    """
    corpus = load_corpus(data)
    vocabulary = build_vocabulary(corpus, data, model)
    sample_length = data.seq_len + 1
    train_limit = data.num_samples * sample_length
    evaluation_limit = int(data.num_samples * data.eval_ratio) * sample_length
    train_tokens = _take(vocabulary.encode(corpus.train), train_limit)
    evaluation_tokens = _take(vocabulary.encode(corpus.evaluation), evaluation_limit)
    multiple = batch_size if data.full_batches else 1
    beginning = _beginning(data, vocabulary, model)
    tokenizer = short_name(model) if vocabulary.name == "model" else vocabulary.name
    least = max(multiple, LEAST_TRAINING_WINDOWS)
    _require_windows("training", corpus.train, train_tokens, train_limit, least, data, tokenizer)
    _require_windows("evaluation", corpus.evaluation, evaluation_tokens, evaluation_limit, multiple, data, tokenizer)
    return Dataset(
        cut_windows(train_tokens, data.seq_len, multiple, beginning),
        cut_windows(evaluation_tokens, data.seq_len, multiple, beginning),
        vocabulary,
        corpus.name,
        fingerprint((train_tokens, evaluation_tokens), vocabulary.size),
        corpus.readers,
    )


def cut_windows(tokens: array[int], seq_len: int, multiple: int = 1, beginning: int | None = None) -> Windows:
    """Cut a stream into complete windows, in order, the largest multiple of a number of them.

    Args:
        beginning: token that every window begins with; all others are then targets.
    """
    windows = _count(tokens, seq_len) // multiple * multiple
    used = windows * seq_len
    stream = torch.tensor(tokens[: used + 1], dtype=torch.int64)  # [windows · seq_len + 1]
    inputs, targets = stream[:used].view(windows, seq_len), stream[1 : used + 1].view(windows, seq_len)
    return Windows(inputs if beginning is None else _begun(inputs, beginning), targets, beginning)


def overlapping(windows: Windows, stride: int) -> tuple[Windows, Tensor]:
    """Cut the text of windows into others as long that begin every `stride` tokens.

    The last one may go beyond the end of the text, filled up with tokens that none before attends to. So each token has
    the context that the recipe of transformers gives it (its documentation, "Perplexity of fixed-length models").

    Returns:
        The windows, and the mask of the targets that count, bool `[N, T]`: each counts once, in the first window that
        has it.
    """
    targets, width = windows.targets.flatten(), windows.targets.shape[1]
    starts = torch.arange(0, len(targets) - width + stride, stride, device=targets.device)  # [N]
    places = starts[:, None] + torch.arange(width, device=targets.device)  # [N, T]
    counts = (places >= (starts - stride + width)[:, None]) & (places < len(targets))
    counts[0] = True
    beyond = targets[-1:].expand(int(places[-1, -1]) + 1 - len(targets))
    text = torch.cat((windows.inputs[0, :1], targets, beyond))
    inputs = text[places]
    if windows.beginning is not None:
        inputs = _begun(inputs, windows.beginning)
    return Windows(inputs, text[places + 1], windows.beginning), counts


def _begun(inputs: Tensor, beginning: int) -> Tensor:
    """Return inputs `[N, T]` with another first token in each window."""
    return torch.cat((torch.full_like(inputs[:, :1], beginning), inputs[:, 1:]), 1)


def _beginning(data: DataConfig, vocabulary: Vocabulary, model: str) -> int | None:
    """Return the token that windows begin with, if the config asks for one.

    Raises:
        ConfigError: the tokenizer has none.
    """
    if data.bos_token and vocabulary.beginning is None:
        raise ConfigError(
            f"data.bos_token must be false: the tokenizer of {short_name(model)} has no beginning-of-text token"
        )
    return vocabulary.beginning if data.bos_token else None


def fingerprint(streams: Iterable[array[int]], vocabulary_size: int) -> str:
    """Return the SHA-256, in hex, of the vocabulary size, then each stream's length and tokens.

    Sizes are little-endian int64, tokens little-endian int32, so the result is the same on every machine.
    """
    digest = hashlib.sha256(vocabulary_size.to_bytes(8, "little"))
    for stream in streams:
        tokens = array("i", stream)
        if sys.byteorder == "big":
            tokens.byteswap()
        digest.update(len(tokens).to_bytes(8, "little"))
        digest.update(tokens.tobytes())
    return digest.hexdigest()


def _take(ids: Iterable[int], limit: int) -> array[int]:
    return array("i", islice(ids, min(limit, sys.maxsize)))


def _require_windows(
    split: str, text: str, tokens: array[int], limit: int, needed: int, data: DataConfig, tokenizer: str
) -> None:
    """Refuse a stream with too few windows; the message says whether text, tokenizer or config limit them.

    Args:
        tokenizer: word, bpe, or the name of the pretrained model whose it is.
    """
    windows = _count(tokens, data.seq_len)
    if windows >= needed:
        return
    source = data.corpus if split == "training" else data.eval_corpus or data.corpus
    more = f"larger {LIMITING_KEYS[split]}" if len(tokens) >= limit else "longer text"
    batches = ", data.full_batches=false, a smaller train.batch_size" if data.full_batches else ""
    given = f"corpus {source} gives {windows} {split} windows of {data.seq_len} tokens"
    if len(tokens) < limit and len(text) > LONGEST_WORDS * len(tokens):
        if tokenizer == "word":
            more = "tokenizer that needs no blanks, as this text has hardly any (--set data.tokenizer=bpe)"
        elif tokenizer != "bpe":
            raise CorpusError(
                f"{given}, as the tokenizer of {tokenizer} makes {len(tokens):,} tokens of its {len(text):,} "
                f"characters: check whether the tokenizer's files are those of that model, or take another text"
            )
    raise CorpusError(f"{given}, but {needed} are needed: take a {more}{batches}, or a smaller data.seq_len")


def _count(tokens: array[int], seq_len: int) -> int:
    return max(0, len(tokens) - 1) // seq_len
