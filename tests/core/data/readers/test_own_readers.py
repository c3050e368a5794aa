"""Corpus readers by their references: the built-in ones, files of the user's own, and installed packages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.run_config import DataConfig
from core.data.corpora import load_corpus
from core.data.readers._contract import TOKENIZERS, CorpusReader, Texts
from core.data.readers._load import source
from core.data.tokenizers import resolve_tokenizer
from core.errors import ConfigError, CorpusError
from core.extensions.kinds import CORPUS_READERS
from tests.packages import install

SOUND = """
from core.data.readers._contract import CorpusReader, Texts


class Mine(CorpusReader):
    usage = "reader:mine.py:WORD"
    tokenizer = "bpe"

    def read(self, argument: str) -> Texts:
        word = argument or "word"
        return Texts((f"{word}\\n" for _ in range(600)), None)


READER = Mine()
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOUND)
    return path


@pytest.mark.parametrize("name", CORPUS_READERS.built_in)
def test_every_built_in_reader_says_how_it_is_written(name: str) -> None:
    found = source(f"{name}:x").reader
    assert isinstance(found, CorpusReader)
    assert found.usage == CORPUS_READERS.declared(name)["usage"]
    assert found.usage in (DataConfig.model_fields["corpus"].description or "")
    assert found.tokenizer in TOKENIZERS
    assert isinstance(found.needs_argument, bool)


@pytest.mark.parametrize(
    ("reference", "usage", "argument"),
    [
        ("pydocs", "pydocs", ""),
        ("hub:name:config", "hub:NAME[:CONFIG]", "name:config"),
        ("hub", "a path or glob", "hub"),
        ("files", "a path or glob", "files"),
        ("files:hub:x", "a path or glob", "hub:x"),
        ("some/text.py", "a path or glob", "some/text.py"),
        ("odd:name.txt", "a path or glob", "odd:name.txt"),
    ],
)
def test_a_reference_names_a_reader_or_is_a_path(reference: str, usage: str, argument: str) -> None:
    found = source(reference)
    assert (found.reader.usage, found.argument, found.plugin) == (usage, argument, None)


def test_pydocs_takes_no_argument() -> None:
    with pytest.raises(CorpusError, match="corpus pydocs:x must be pydocs alone"):
        load_corpus(DataConfig(corpus="pydocs:x"))


def test_a_file_of_the_user_s_own_reads_what_its_argument_asks_for(mine: Path) -> None:
    for reference, word in ((f"reader:{mine}", "word"), (f"reader:{mine}:one:two", "one:two")):
        corpus = load_corpus(DataConfig(corpus=reference, eval_ratio=0.2))
        assert corpus.name == reference
        assert (corpus.train, corpus.evaluation) == (f"{word}\n" * 500, f"{word}\n" * 100)
        record = corpus.readers["corpus_reader"]
        assert (record["name"], record["file"], len(record["sha256"])) == ("mine", str(mine), 64)
    assert resolve_tokenizer(DataConfig(corpus=f"reader:{mine}")) == "bpe"
    assert resolve_tokenizer(DataConfig(corpus=str(mine))) == "word", "without the prefix it is text like any other"
    assert load_corpus(DataConfig(corpus=str(mine))).readers == {}


def test_a_reader_is_used_as_it_is_written_now(mine: Path) -> None:
    first = load_corpus(DataConfig(corpus=f"reader:{mine}"))
    mine.write_text(SOUND.replace('"word"', '"other"'))
    second = load_corpus(DataConfig(corpus=f"reader:{mine}"))
    assert second.train.startswith("other")
    assert first.readers["corpus_reader"]["sha256"] != second.readers["corpus_reader"]["sha256"]


def test_an_installed_package_offers_readers_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"eetui.corpora": {"theirs": "theirs_eetui_reader", "hub": "theirs_eetui_reader"}}
    files = {"theirs_eetui_reader.py": SOUND}
    monkeypatch.syspath_prepend(install(tmp_path, "theirs", files, entries))
    corpus = load_corpus(DataConfig(corpus="theirs:x", eval_corpus="theirs"))
    assert corpus.train == "x\n" * 600
    assert corpus.evaluation == "word\n" * 600
    assert corpus.readers["corpus_reader"]["package"] == "theirs 1.2"
    assert corpus.readers["eval_corpus_reader"] == corpus.readers["corpus_reader"]
    assert source("hub:x").plugin is None, "a package can't take a built-in reader's name"


class Counting(CorpusReader):
    """Reads nothing before it is asked to."""

    usage = "counting"
    asked: tuple[str, ...] = ()

    def read(self, argument: str) -> Texts:
        return Texts(self._pieces("train"), self._pieces("evaluation"))

    def _pieces(self, part: str) -> Iterator[str]:
        self.asked += (part,)
        yield f"{part} "
        yield "text"


@pytest.mark.parametrize(
    ("corpus", "eval_corpus", "asked", "texts"),
    [
        ("hub:x", None, ("train", "evaluation"), ("train text", "evaluation text")),
        ("hub:x", "TEXT", ("train",), ("train text", "to read")),
        ("TEXT", "hub:x", ("evaluation",), ("to read", "evaluation text")),
    ],
)
def test_a_text_that_is_not_needed_is_not_read(
    corpus: str,
    eval_corpus: str | None,
    asked: tuple[str, ...],
    texts: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "text.txt").write_text("to read")
    reader = Counting()
    monkeypatch.setattr("core.data.readers.hub.READER", reader)
    named = {"TEXT": str(tmp_path / "text.txt")}
    found = load_corpus(
        DataConfig(corpus=named.get(corpus, corpus), eval_corpus=named.get(eval_corpus or "", eval_corpus))
    )
    assert reader.asked == asked
    assert (found.train, found.evaluation) == texts


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("READER = Mine()", "READER = Mine", "mine.py:14: READER must be an instance of a subclass of CorpusReader"),
        ("READER = Mine()", "", "mine.py: there is no READER: end it with READER = …"),
        ('    usage = "reader:mine.py:WORD"', "", "mine.py:5: usage must be text that says how a reference is written"),
        ('tokenizer = "bpe"', 'tokenizer = "letters"', "mine.py:7: tokenizer must be one of word, bpe, got 'letters'"),
        ('tokenizer = "bpe"', "needs_argument = 1", "mine.py:7: needs_argument must be True or False, got 1"),
        ("    def read", "    def reed", "mine.py:14: TypeError: Can't instantiate abstract class"),
        ("import CorpusReader", "import CorpusReeder", "mine.py:2: ImportError: cannot import name"),
    ],
)
def test_a_reader_that_is_no_good_is_refused_with_its_place(mine: Path, old: str, new: str, reason: str) -> None:
    assert old in SOUND
    mine.write_text(SOUND.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_corpus(DataConfig(corpus=f"reader:{mine}"))
    assert str(caught.value).startswith(f"corpus reader mine can't be used: {mine.parent}/{reason}")
    assert str(caught.value).endswith("(docs/corpora.md)")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('word = argument or "word"', "word = 1 / 0", "mine.py:10: ZeroDivisionError: division by zero"),
        ('f"{word}\\n"', "1 / 0", "mine.py:11: ZeroDivisionError: division by zero"),
        ("return Texts(", "return (", "mine.py: TypeError: read must return Texts, got tuple"),
        ('f"{word}\\n"', 'b"x"', "mine.py: TypeError: sequence item 0: expected str instance, bytes found"),
    ],
)
def test_a_reader_that_fails_says_where(mine: Path, old: str, new: str, reason: str) -> None:
    assert old in SOUND
    mine.write_text(SOUND.replace(old, new))
    with pytest.raises(CorpusError) as caught:
        load_corpus(DataConfig(corpus=f"reader:{mine}:x"))
    assert str(caught.value).startswith(
        f"corpus reader:{mine}:x can't be read: {mine.parent}/{reason}; correct the reader"
    )


def test_a_reader_may_say_itself_why_there_is_no_text(mine: Path) -> None:
    lines = "from core.errors import CorpusError\n" + SOUND
    mine.write_text(lines.replace('word = argument or "word"', 'raise CorpusError("come back tomorrow")'))
    with pytest.raises(CorpusError, match=r"^come back tomorrow$"):
        load_corpus(DataConfig(corpus=f"reader:{mine}"))


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("reader:none.py:x", r"corpus reader none must be a file that can be read \(No such file .*, got 'none.py'"),
        ("reader:", "corpus reader: must name a file, such as reader:./mine.py"),
        ("reader:theirs", "corpus reader:theirs must name a file, such as reader:./mine.py"),
        ("theirs:x", r"corpus theirs:x does not exist: check it, or give another of a path or glob, hub:NAME"),
    ],
)
def test_a_reader_that_is_not_there_is_refused(
    reference: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, CorpusError), match=reason):
        load_corpus(DataConfig(corpus=reference))
