"""Text from a finished run: the plain function behind `eetui generate`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.analysis.stored_run import StoredRun, stored_run
from core.config.run_config import RunConfig
from core.data.corpora import load_corpus
from core.data.tokenizers import UNKNOWN, Vocabulary, WordVocabulary, build_vocabulary
from core.early_exit.generation import GeneratedToken, generate
from core.early_exit.sampling import DEFAULTS, GenerationOptions
from core.errors import UsageError
from core.evaluation.savings import exit_costs
from core.formulas import share_of_layers_saved
from core.model import Transformer
from core.protocol.checkpoint import Checkpoint, load_model
from core.store.reader import Reader

BROKEN = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, and so tokens that one may be spread over."""


@dataclass(frozen=True, eq=False)
class TextGenerator:
    """A run that writes text: its model as it ended, its thresholds, its vocabulary.

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
class Origins:
    """Where generated tokens came from.

    Attributes:
        blocks: share of the tokens that each block predicted.
        layer_savings, flop_savings: share of the whole model's layers and FLOPs, by the formulas of `core.costs`.
    """

    blocks: tuple[float, ...]
    layer_savings: float
    flop_savings: float


def open_generator(reader: Reader, number: int) -> TextGenerator:
    """Load a run that is to write text.

    Raises:
        RunLookupError: there is no such run.
        UsageError: its checkpoint, its thresholds, its vocabulary or its own exit method can't be had.
    """
    run = stored_run(reader, number)
    checkpoint = Checkpoint.of_run(reader.path, number, run.config, run.record["fingerprint"])
    return TextGenerator(
        number=number,
        name=run.name,
        config=run.config,
        model=load_model(run.config, run.record["vocab_size"], checkpoint),
        thresholds=run.thresholds,
        vocabulary=_vocabulary(reader, run),
    )


def origins(generator: TextGenerator, tokens: Sequence[GeneratedToken]) -> Origins:
    """Where the tokens came from; at least one."""
    config, model = generator.config, generator.config.model
    blocks = tuple(
        sum(token.block == block for token in tokens) / len(tokens) for block in range(len(model.block_layers))
    )
    savings, flops = share_of_layers_saved(blocks, model.block_layers), 0.0
    if config.exit.exited_state == "input":
        savings = 0.0  # they run through
    elif generator.thresholds:
        flops = exit_costs(generator.vocabulary.size, config).savings(blocks)
    return Origins(blocks, savings, flops)


def _vocabulary(reader: Reader, run: StoredRun) -> Vocabulary:
    """The run's own: whole words as the store keeps them, else from the corpus, if that is still what it was."""
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
