"""Where text comes from: the embedded documentation, local files, or the Hugging Face hub."""

from dataclasses import dataclass

from core.config.run_config import DataConfig
from core.data import hub
from core.data.files import read_files
from core.data.pydocs import pydocs_text
from core.errors import CorpusError

EMBEDDED = "pydocs"
EVALUATION_SPLITS = ("validation", "test")
NEAR = 0.02  # of the text: how far the held-out tail may move to begin with a line


@dataclass(frozen=True)
class Corpus:
    """Text to train on and text to evaluate on."""

    name: str
    train: str
    evaluation: str


def load_corpus(config: DataConfig) -> Corpus:
    """The corpus that a config names.

    The evaluation text is `eval_corpus`, else the dataset's own validation or test split, else a held-out
    tail.

    Raises:
        CorpusError: the text can't be had, or there is no word in it.
    """
    train, evaluation = _training_text(config.corpus)
    if config.eval_corpus is not None:
        evaluation = _evaluation_text(config.eval_corpus)
    _require_words(train, config.corpus)
    if evaluation is None:
        train, evaluation = hold_out_tail(train, config.eval_ratio)
    else:
        _require_words(evaluation, config.eval_corpus or f"{config.corpus} (evaluation split)")
    return Corpus(config.corpus, train, evaluation)


def hold_out_tail(text: str, eval_ratio: float) -> tuple[str, str]:
    """Cut a text in two: what is trained on, and a tail of `eval_ratio` times its length (in characters).

    The tail begins with a line if one begins nearby, else with a word or the whitespace before one. The two
    parts always add up to the text.
    """
    target = round(len(text) / (1 + eval_ratio))
    cut = _line_start_near(text, target) or _word_boundary_before(text, target)
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


def _training_text(reference: str) -> tuple[str, str | None]:
    """A source's text, and the evaluation text that comes with it, if any."""
    if not reference.startswith(hub.PREFIX):
        return _local_text(reference), None
    dataset = hub.load_hub(reference)
    has_evaluation = dataset.has(*EVALUATION_SPLITS)
    return dataset.text("train"), dataset.text(*EVALUATION_SPLITS) if has_evaluation else None


def _evaluation_text(reference: str) -> str:
    if not reference.startswith(hub.PREFIX):
        return _local_text(reference)
    return hub.load_hub(reference).text(*EVALUATION_SPLITS, "train")


def _local_text(reference: str) -> str:
    return pydocs_text() if reference == EMBEDDED else read_files(reference)


def _require_words(text: str, reference: str) -> None:
    if not text or text.isspace():
        raise CorpusError(f"corpus {reference} is empty: there is no word in it; choose a source with text")
