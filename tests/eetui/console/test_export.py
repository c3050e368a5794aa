"""Files of screen contents: written beside what is there, whatever is there."""

from pathlib import Path

import pytest

from core.errors import UsageError
from eetui.console import export as exports
from eetui.console.export import export


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_name_that_is_taken_is_numbered() -> None:
    assert export("a b.csv", "1") == Path("eetui-exports/a-b.csv")
    Path("eetui-exports/a-b-2.CSV").write_text("of another case")
    Path("eetui-exports/a-b-3.csv").symlink_to("nowhere")
    Path("eetui-exports/a-b-4.csv").mkdir()
    assert export("a b.csv", "2") == Path("eetui-exports/a-b-5.csv")
    assert Path("eetui-exports/a-b.csv").read_text() == "1"
    assert Path("eetui-exports/a-b-5.csv").read_text() == "2"
    assert not Path("eetui-exports/nowhere").exists()


def test_another_console_may_take_the_name_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    export("runs.md", "first")
    monkeypatch.setattr(exports, "names_in", lambda _: [])
    assert export("runs.md", "second") == Path("eetui-exports/runs-2.md")
    assert Path("eetui-exports/runs.md").read_text() == "first"


def test_a_folder_that_is_none_is_said() -> None:
    Path("eetui-exports").write_text("a file")
    with pytest.raises(UsageError, match=r"eetui-exports/runs\.md can't be written .*: start eetui elsewhere"):
        export("runs.md", "text")
