"""What a corpus reader is: where text comes from, by a reference that a user writes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

TokenizerName = Literal["word", "bpe"]
TOKENIZERS: tuple[TokenizerName, ...] = get_args(TokenizerName)
VocabularyName = Literal["word", "bpe", "model"]
"""Tokenizers of runs: a pretrained model brings its own."""


@dataclass(frozen=True)
class Texts:
    """Text to train on, and text to evaluate on where it comes with it.

    Both are in pieces that are joined as they are, and go unread where they are not needed: a run with an
    `eval_corpus` of its own reads no `evaluation`, and an `eval_corpus` that has `evaluation` gives no `train`.

    Attributes:
        train: text to train on.
        evaluation: text to evaluate on; None: the tail of `train` is held out.
    """

    train: Iterable[str]
    evaluation: Iterable[str] | None = None


class CorpusReader(ABC):
    """Reads the text that a reference `NAME` or `NAME:ARGUMENT` stands for."""

    usage: ClassVar[str]
    """How a reference is written: `hub:NAME[:CONFIG]`."""
    needs_argument: ClassVar[bool] = False
    """Whether the bare name is no reference."""
    tokenizer: ClassVar[TokenizerName] = "word"
    """Tokenizer that `auto` stands for."""

    @abstractmethod
    def read(self, argument: str) -> Texts:
        """Read what `argument` asks for; empty where the reference is the bare name.

        The same argument must give the same text: a run is resumed on what it was trained on.

        Raises:
            CorpusError: it can't be had; the message says what was wrong, where, and what to do.
        """
