"""Text from a finished run: the plain function behind `eetui generate`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.derived import exit_count
from core.config.dotted_names import flatten
from core.config.run_config import Layer, RunConfig, build
from core.data.corpora import load_corpus
from core.data.tokenizers import UNKNOWN, Vocabulary, WordVocabulary, build_vocabulary
from core.early_exit.generation import GeneratedToken, generate
from core.early_exit.sampling import DEFAULTS, GenerationOptions
from core.errors import UsageError
from core.evaluation.savings import exit_costs
from core.events import Event, Threshold
from core.formulas import share_of_layers_saved
from core.model import Transformer
from core.protocol.checkpoint import Checkpoint, load_model
from core.store.reader import Reader

BROKEN = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, and so tokens that one may be spread over."""


@dataclass(frozen=True, eq=False)
class Writer:
    """A run that can write: its model as it ended, its thresholds, its vocabulary.

    Attributes:
        thresholds: one for every block but the last; none where the run has no exits.
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
            UsageError: at once: there is no token in the prompt, or an option is out of its range.
        """
        words = list(self.vocabulary.encode(prompt))
        tokens = generate(self.model, self.thresholds, self.config, words, options)
        return _pieces(self.vocabulary, tokens, follows=_last_character(prompt))

    def unknown(self, prompt: str) -> int:
        """How many words of a prompt the run has never seen, and reads as one and the same."""
        if self.vocabulary.name != "word":
            return 0
        (unknown,) = self.vocabulary.encode(UNKNOWN)
        return sum(word == unknown for word in self.vocabulary.encode(prompt))


@dataclass(frozen=True)
class Piece:
    """A generated token and the text that shows of it: none while a character is not complete."""

    text: str
    token: GeneratedToken


@dataclass(frozen=True)
class Shares:
    """Where generated tokens came from.

    Attributes:
        blocks: share of the tokens that each block predicted.
        layer_savings, flop_savings: share of the whole model's layers and FLOPs, by the formulas of `core.costs`.
    """

    blocks: tuple[float, ...]
    layer_savings: float
    flop_savings: float


def open_writer(reader: Reader, run: int) -> Writer:
    """Load a run for writing.

    Raises:
        RunLookupError: there is no such run.
        UsageError: its checkpoint, its thresholds, its vocabulary or its own exit method can't be had.
    """
    row = reader.run(run)
    config = build([Layer(f"run {run}", flatten(row["config"]))])
    checkpoint = Checkpoint.of_run(reader.path, run, config, row["record"]["fingerprint"])
    return Writer(
        number=run,
        name=row["name"],
        config=config,
        model=load_model(config, row["record"]["vocab_size"], checkpoint),
        thresholds=thresholds_set(reader.events(run, steps=False)[0], config, row["name"]),
        vocabulary=_vocabulary(reader, row, config),
    )


def thresholds_set(events: Sequence[Event], config: RunConfig, name: str) -> tuple[float, ...]:
    """The threshold of every block but the last, where exits were set more than once the latest.

    Raises:
        UsageError: one is missing, as the run did not come that far.
    """
    exits = exit_count(config.protocol, len(config.model.block_layers))
    found = {event.block: event.threshold for event in events if isinstance(event, Threshold)}
    if not set(range(exits)) <= found.keys():
        raise UsageError(f"{name} has not set its thresholds yet: let it finish (eetui resume), then generate")
    return tuple(found[block] for block in range(exits))


def shares(writer: Writer, tokens: Sequence[GeneratedToken]) -> Shares:
    """Where the tokens came from; at least one."""
    model = writer.config.model
    blocks = tuple(
        sum(token.block == block for token in tokens) / len(tokens) for block in range(len(model.block_layers))
    )
    savings, flops = share_of_layers_saved(blocks, model.block_layers), 0.0
    if writer.config.exit.exited_state == "input":
        savings = 0.0  # they run through
    elif writer.thresholds:
        flops = exit_costs(writer.vocabulary.size, writer.config).savings(blocks)
    return Shares(blocks, savings, flops)


def _vocabulary(reader: Reader, row: dict[str, Any], config: RunConfig) -> Vocabulary:
    """The run's own: whole words as the store keeps them, else from the corpus, if that is still what it was."""
    text = reader.text(row["record"]["fingerprint"])
    if text is not None and config.data.tokenizer == "word":
        return WordVocabulary([" ".join(text.vocabulary)])
    vocabulary = build_vocabulary(load_corpus(config.data), config.data)
    same = vocabulary.size == row["record"]["vocab_size"]
    if same and text is not None:
        same = vocabulary.tokens(range(vocabulary.size)) == text.vocabulary
    if not same:
        raise UsageError(
            f"the corpus {config.data.corpus} is no longer the text that {row['name']} (run {row['id']}) was trained "
            f"on, so its tokens are not known: restore the text, or train a new run (eetui run)"
        )
    return vocabulary


def _last_character(prompt: str) -> str:
    return prompt[-1:] or " "


def _pieces(vocabulary: Vocabulary, tokens: Iterator[GeneratedToken], follows: str) -> Iterator[Piece]:
    """The tokens with their text; bytes of a character wait for the others.

    Args:
        follows: the character before the first; words are set apart by a blank.
    """
    waiting = list[int]()
    for token in tokens:
        waiting.append(token.token)
        text = vocabulary.decode(waiting)
        if text.endswith(BROKEN) and len(waiting) < LONGEST_CHARACTER:
            yield Piece("", token)
            continue
        if vocabulary.name == "word" and not follows.isspace():
            text = f" {text}"
        follows, waiting = text[-1:] or follows, []
        yield Piece(text, token)
