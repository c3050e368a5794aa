"""What a fresh clone shows without training anything."""

import json
import shutil
from pathlib import Path

from tests.conftest import Eetui

PUBLISHED = Path(__file__).parents[2] / "runs.db"


def test_the_published_database_holds_three_methods_with_three_seeds(eetui: Eetui, tmp_path: Path) -> None:
    copy = shutil.copy(PUBLISHED, tmp_path / "runs.db")
    before = Path(copy).read_bytes()
    shown = json.loads(eetui("compare", "--json", EETUI_DB=str(copy)).stdout)
    assert [run["title"] for run in shown["runs"]] == ["distill ×3", "loss ×3", "softmax ×3"]
    assert all(run["seeds"] == [42, 43, 44] for run in shown["runs"])
    assert Path(copy).read_bytes() == before, "looking changes nothing"
    assert PUBLISHED.stat().st_size < 5 * 2**20


def test_the_documented_groups_are_those_of_the_published_database(eetui: Eetui, tmp_path: Path) -> None:
    copy = shutil.copy(PUBLISHED, tmp_path / "runs.db")
    documented = (PUBLISHED.parent / "docs" / "numbers.md").read_text(encoding="utf-8")
    printed = eetui("compare", "--group-by", "method", EETUI_DB=str(copy)).stdout
    block = documented.partition("$ eetui compare --group-by method\n")[2].partition("```")[0]
    assert block.splitlines() == [line.rstrip() for line in printed.splitlines()]
