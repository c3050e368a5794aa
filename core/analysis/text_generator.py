"""Text generation with a finished run: the function behind `eetui generate`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.analysis.realised_savings import realised_savings
from core.analysis.stored_run import StoredRun, stored_run
from core.config.run_config import RunConfig
from core.data.corpora import load_corpus
from core.data.tokenizers import UNKNOWN, Vocabulary, WordVocabulary, build_vocabulary, model_vocabulary
from core.early_exit.generation import GeneratedToken, generate
from core.early_exit.sampling import DEFAULTS, GenerationOptions
from core.errors import UsageError
from core.evaluation.savings import exit_costs
from core.extensions.imported import no_model
from core.formulas import share_of_layers_saved
from core.model import Transformer
from core.protocol.checkpoint import Checkpoint, load_model
from core.store.reader import Reader

BROKEN = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4
"""Largest number of bytes in a UTF-8 character, and so of tokens that it can take."""


@dataclass(frozen=True, eq=False)
class TextGenerator:
    """A run that generates text: its final model, its thresholds, its vocabulary.

    Attributes:
        thresholds: threshold of every block but the last; empty without exits.
    """

    number: int
    name: str
    config: RunConfig
    model: Transformer
    thresholds: tuple[float, ...]
    vocabulary: Vocabulary

    def write(self, prompt: str, options: GenerationOptions = DEFAULTS) -> Iterator["Piece"]:
        """Continue a prompt, token by token.

        Raises:
            UsageError: at once, if the prompt has no token or an option is out of range.
        """
        read = self.tokens(prompt)
        tokens = generate(self.model, self.thresholds, self.config, read, options)
        return as_pieces(self.vocabulary, tokens, read, last_character(prompt))

    def tokens(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt, after the one that texts begin with where the run was trained so."""
        beginning = self.vocabulary.beginning if self.config.data.bos_token else None
        return [*([] if beginning is None else [beginning]), *self.vocabulary.encode(prompt)]

    def unknown(self, prompt: str) -> int:
        """Count the words of a prompt that are not in the vocabulary, and are all read as one token."""
        if self.vocabulary.name != "word":
            return 0
        (unknown,) = self.vocabulary.encode(UNKNOWN)
        return sum(token == unknown for token in self.vocabulary.encode(prompt))


@dataclass(frozen=True)
class Piece:
    """A generated token and the text it completes; the text is empty while a character is not complete."""

    text: str
    token: GeneratedToken


@dataclass(frozen=True)
class Origins:
    """Blocks that predicted generated tokens, with the savings.

    Attributes:
        blocks: share of the tokens that each block predicted.
        layer_savings, flop_savings: share of the full model's layers and FLOPs saved, by the formulas of `core.costs`.
    """

    blocks: tuple[float, ...]
    layer_savings: float
    flop_savings: float


def open_generator(
    reader: Reader, number: int, check: Callable[[RunConfig], object] = lambda config: None
) -> TextGenerator:
    """Load a run to generate text with.

    Args:
        check: refuses what the run's config rules out, before the model is loaded, which may take half a minute.

    Raises:
        RunLookupError: there is no such run.
        UsageError: its checkpoint, its thresholds, its vocabulary or its own exit method can't be read.
    """
    run = stored_run(reader, number)
    if run.config.model.imported:
        raise UsageError(no_model(f"{run.name} (run {number})", "write text"))
    check(run.config)
    checkpoint = Checkpoint.of_run(reader.path, number, run.config, run.record["fingerprint"], run.created)
    return TextGenerator(
        number=number,
        name=run.name,
        config=run.config,
        model=load_model(run.config, run.record["vocab_size"], checkpoint),
        thresholds=run.thresholds,
        vocabulary=_vocabulary(reader, run),
    )


def origins(generator: TextGenerator, tokens: Sequence[GeneratedToken]) -> Origins:
    """Compute the blocks' shares and the savings of at least one generated token."""
    config, model = generator.config, generator.config.model
    blocks = tuple(
        sum(token.block == block for token in tokens) / len(tokens) for block in range(len(model.block_layers))
    )
    savings, flops = share_of_layers_saved(blocks, model.block_layers), 0.0
    if config.exit.exited_state == "input":
        savings = 0.0  # exited tokens run through the later blocks
    elif generator.thresholds:
        cost = exit_costs(generator.vocabulary.size, config, generator.thresholds)
        if config.exit.exited_state == "deferred":  # tokens run as far as any after them
            savings, flops = realised_savings(np.array([token.block for token in tokens]), len(tokens), cost)
        else:
            flops = sum(share * each for share, each in zip(blocks, cost.savings_if_attended, strict=True))
    return Origins(blocks, savings, flops)


def _vocabulary(reader: Reader, run: StoredRun) -> Vocabulary:
    """Return the run's vocabulary: the pretrained model's, a stored one of words, else built from the corpus.

    Raises:
        ConfigError: the pretrained model is gone, or has changed.
        UsageError: the corpus has changed since the run.
    """
    if run.config.model.pretrained:
        return model_vocabulary(run.config.model.source)
    text, data = reader.text(run.record["fingerprint"]), run.config.data
    if text is not None and data.tokenizer == "word":
        return WordVocabulary([" ".join(text.vocabulary)])
    vocabulary = build_vocabulary(load_corpus(data), data)
    same = vocabulary.size == run.record["vocab_size"]
    if same and text is not None:
        same = vocabulary.tokens(range(vocabulary.size)) == text.vocabulary
    if not same:
        raise UsageError(
            f"the corpus {data.corpus} is no longer the text that {run.name} (run {run.number}) was trained on, so its "
            f"tokens are not known: restore the text, or train a new run (eetui run)"
        )
    return vocabulary


def last_character(prompt: str) -> str:
    return prompt[-1:] or " "


def as_pieces(
    vocabulary: Vocabulary, tokens: Iterator[GeneratedToken], read: Sequence[int], follows: str
) -> Iterator[Piece]:
    """Yield the tokens with their text; an incomplete character waits for its other bytes.

    A text is what its tokens add to that of those before: decoded alone, words of SentencePiece lose their space.

    Args:
        read: tokens before the first one.
        follows: character before the first one, which is a blank that words need no other after.
    """
    before, waiting = list(read[-LONGEST_CHARACTER:]), list[int]()
    for token in tokens:
        waiting.append(token.token)
        known = vocabulary.decode(before)
        text = vocabulary.decode([*before, *waiting])[len(known) :]
        if text.endswith(BROKEN) and len(waiting) < LONGEST_CHARACTER:
            yield Piece("", token)
            continue
        if follows.isspace() and not known[-1:].isspace():
            text = text.removeprefix(" ")
        before, waiting, follows = [*before, *waiting][-LONGEST_CHARACTER:], [], ""
        yield Piece(text, token)
