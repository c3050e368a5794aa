"""Corpora: text to train on and text to evaluate on, whichever readers they come from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from core.config.run_config import DataConfig
from core.data.readers._contract import Texts
from core.data.readers._load import source
from core.data.readers.files import READER as FILES
from core.data.readers.files import find_files
from core.errors import CorpusError

LONGEST_WORD = 1000  # characters: a longer text without blanks is no word
NEAR = 0.02  # of the text: how far the held-out tail may move to begin with a line


@dataclass(frozen=True)
class Corpus:
    """Text to train on and text to evaluate on.

    Attributes:
        readers: what a run's record says of readers that are the user's own, by the record's key.
    """

    name: str
    train: str
    evaluation: str
    readers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def load_corpus(config: DataConfig) -> Corpus:
    """Load the corpus that a config names.

    The evaluation text is `eval_corpus`, else what the corpus has for it, such as a dataset's validation split, else a
    held-out tail.

    Raises:
        CorpusError: the text can't be had, or there is no word in it.
        ConfigError: a user's own reader is not there or no good.
    """
    own = source(config.corpus)
    other = own if config.eval_corpus is None else source(config.eval_corpus)
    texts = own.texts()
    pieces = texts.evaluation if other is own else _evaluation(other.texts())
    train = own.joined(texts.train)
    _require_words(train, config.corpus)
    if pieces is None:
        train, evaluation = hold_out_tail(train, config.eval_ratio)
    else:
        evaluation = other.joined(pieces)
        _require_words(evaluation, config.eval_corpus or f"{config.corpus} (evaluation split)")
    readers = {"corpus_reader": own.plugin, "eval_corpus_reader": None if other is own else other.plugin}
    records = {key: plugin.record for key, plugin in readers.items() if plugin is not None}
    return Corpus(config.corpus, train, evaluation, records)


def require_files(config: DataConfig) -> None:
    """Refuse a path or glob of nothing, without reading what is there.

    Raises:
        CorpusError: it is one.
        ConfigError: a user's own reader is not there or no good.
    """
    for reference in filter(None, (config.corpus, config.eval_corpus)):
        found = source(reference)
        if found.reader is FILES:
            find_files(found.argument)


def hold_out_tail(text: str, eval_ratio: float) -> tuple[str, str]:
    """Cut a text in two: what is trained on, and a tail of `eval_ratio` times its length (in characters).

    The tail begins with a line if one begins nearby, else with a word or the whitespace before one. A
    text of one endless word is cut in it. The two parts always add up to the text.
    """
    target = round(len(text) / (1 + eval_ratio))
    cut = _line_start_near(text, target) or _word_boundary_before(text, target)
    if not cut and len(text) > LONGEST_WORD:
        cut = target
    return text[:cut], text[cut:]


def _line_start_near(text: str, target: int) -> int | None:
    reach = int(NEAR * len(text))
    before = text.rfind("\n", max(0, target - reach), target) + 1
    after = text.find("\n", target, target + reach) + 1
    starts = [start for start in (before, after) if 0 < start < len(text)]
    return min(starts, key=lambda start: abs(start - target), default=None)


def _word_boundary_before(text: str, target: int) -> int:
    cut = target
    while 0 < cut < len(text) and not (text[cut - 1].isspace() or text[cut].isspace()):
        cut -= 1
    return cut


def _evaluation(texts: Texts) -> Iterable[str]:
    """Return the text to evaluate on, of a corpus that is named for that alone."""
    return texts.train if texts.evaluation is None else texts.evaluation


def _require_words(text: str, reference: str) -> None:
    if not text or text.isspace():
        raise CorpusError(f"corpus {reference} is empty: there is no word in it; choose a source with text")
