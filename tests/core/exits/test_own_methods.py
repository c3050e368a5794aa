"""Users' own exit methods: loaded from a file or an installed package, checked, and known without being loaded."""

from pathlib import Path

import pytest

from core.config.run_config import RunConfig
from core.errors import ConfigError
from core.exits import exit_method, first_method
from core.exits._facts import MethodFacts, run_facts
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import pinned
from core.protocol.resolve import resolve
from core.session.provenance import method_record
from tests.packages import install

SOUND = """
from torch import Tensor

from core.exits._contract import LearnedExit, Observation


class Mine(LearnedExit):
    claims = "p(target)"
    reads_head = False

    def label(self, observation: Observation) -> Tensor:
        return (-observation.known.cross_entropy).exp()


EXIT = Mine()
"""


def written(folder: Path, source: str = SOUND) -> str:
    """A method's file with that source; its reference."""
    (folder / "mine.py").write_text(source)
    return pinned(EXIT_METHODS, str(folder / "mine.py"))


def test_a_file_is_an_exit_method_like_any_other(tmp_path: Path) -> None:
    reference = written(tmp_path)
    method = exit_method(reference)
    assert (method.learns, method.claims) == (True, "p(target)")
    assert first_method(reference) is exit_method(reference) is method
    config = RunConfig(method=str(tmp_path / "mine.py"))
    assert (config.method, config.method_name) == (reference, "mine")
    assert resolve(config).method == reference


def test_an_installed_package_offers_methods_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"eetui.exits": {"theirs": "theirs_eetui_exit"}}
    monkeypatch.syspath_prepend(install(tmp_path, "theirs", {"theirs_eetui_exit.py": SOUND}, entries))
    method = exit_method(RunConfig(method="theirs").method)
    assert type(method).__name__ == "Mine"
    assert method_record(RunConfig(method="theirs").method)["package"] == "theirs 1.2"


def test_what_was_loaded_stays_as_it_was_and_what_is_written_since_is_another_method(tmp_path: Path) -> None:
    before = written(tmp_path)
    loaded = exit_method(before)
    after = written(tmp_path, SOUND.replace('"p(target)"', '"rank"'))
    assert exit_method(before) is loaded
    assert exit_method(after).claims == "rank"
    assert before != after


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("EXIT = Mine()", "EXIT = Mine", "mine.py:15: EXIT must be an instance"),
        ("EXIT = Mine()", "", "mine.py: there is no EXIT"),
        ('claims = "p(target)"', 'claims = "sure"', "mine.py:8: claims must be one of correct, "),
        ("reads_head = False", "reads_head = True", "mine.py:9: reads_head must be False: signal does without"),
        ("    def label", "    def lable", "mine.py:15: TypeError: Can't instantiate abstract class Mine"),
        ("(-observation.known.cross_entropy).exp()", "observation.known.cross_entropy", "mine.py:11: label must be in"),
        (".exp()", ".exp()[:, None]", "mine.py:11: label must be of shape [N], one a token: [17], got [17, 1]"),
        (".known.", ".unknown.", "mine.py:12: label raises AttributeError: 'Observation' object has no"),
        ("from torch import Tensor", "from torch import Tensr", "mine.py:2: ImportError: cannot import name 'Tensr'"),
        ("class Mine(LearnedExit):", "class Mine(LearnedExit)", "mine.py:7: SyntaxError: expected ':'"),
    ],
)
def test_a_method_that_is_no_good_is_refused_with_its_place_before_a_run_begins(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert old in SOUND
    config = RunConfig(method=written(tmp_path, SOUND.replace(old, new)))
    with pytest.raises(ConfigError) as caught:
        resolve(config)
    message = str(caught.value)
    assert message.startswith(f"exit method mine can't be used: {tmp_path}/{reason}")
    assert message.endswith("(docs/exits.md)")
    assert "\n" not in message


def test_what_a_stored_run_s_method_is_needs_the_method_no_more(tmp_path: Path) -> None:
    reference = written(tmp_path)
    record = {"exit_method": method_record(reference)}
    (tmp_path / "mine.py").unlink()
    row = {"method": "mine", "config": {"method": reference}, "record": record}
    assert run_facts(row) == MethodFacts(reference, reads_head=False, claims="p(target)")
    assert run_facts(row).label == f"mine (own, {record['exit_method']['sha256'][:8]})"


@pytest.mark.parametrize("name", EXIT_METHODS.built_in)
def test_an_older_run_s_record_need_not_say_what_a_built_in_method_is(name: str) -> None:
    older = {"method": name, "config": {"method": name}, "record": {}}
    newer = older | {"record": {"exit_method": method_record(name)}}
    assert run_facts(older) == run_facts(newer)


def test_a_method_that_nobody_knows_claims_nothing() -> None:
    row = {"method": "gone", "config": {"method": "gone"}, "record": {}}
    assert run_facts(row) == MethodFacts("gone", reads_head=False, claims="rank")
