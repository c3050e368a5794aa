"""What a fresh clone shows without training anything."""

import json
import shutil
from pathlib import Path

import pytest

from core.store.reader import Query, Reader
from eetui.tour.stops import methods_of_one_seed, trained_as_reported, with_a_price
from tests.conftest import Eetui

PUBLISHED = Path(__file__).parents[2] / "runs.db"


@pytest.fixture
def copy(tmp_path: Path) -> str:
    return str(shutil.copy(PUBLISHED, tmp_path / "runs.db"))


def test_the_published_database_holds_three_methods_with_three_seeds(eetui: Eetui, copy: str) -> None:
    before = Path(copy).read_bytes()
    shown = json.loads(eetui("compare", "preset:seed", "--json", EETUI_DB=copy).stdout)
    assert [run["title"] for run in shown["runs"]] == ["distill ×3", "loss ×3", "softmax ×3"]
    assert all(run["seeds"] == [42, 43, 44] for run in shown["runs"])
    assert Path(copy).read_bytes() == before, "looking changes nothing"
    assert PUBLISHED.stat().st_size < 25 * 10**6


def test_it_holds_the_other_presets_too_and_what_there_is_to_look_into() -> None:
    with Reader(PUBLISHED) as reader:
        rows = reader.runs(Query(), ("id", "preset", "method", "seed", "status"))
        held = {row["id"] for row in rows if reader.token_statistics(row["id"])}
    assert {row["status"] for row in rows} == {"finished"}
    kept = {(row["preset"], row["method"], row["seed"]) for row in rows}
    assert {("sound", method, 42) for method in ("gain", "loss", "distill", "softmax")} <= kept
    assert {("deep", "gain", seed) for seed in (42, 43, 44)} <= kept
    assert ("pretrained", "gain", 42) in kept
    assert held == {row["id"] for row in rows if row["seed"] == 42}
    assert b"/home/" not in PUBLISHED.read_bytes(), "paths of the machine that recorded it"


@pytest.mark.parametrize("command", [("quality", "smollm2"), ("diagnose", "loss-2"), ("show", "price-0-s42")])
def test_runs_are_looked_into_without_their_weights(eetui: Eetui, copy: str, command: tuple[str, ...]) -> None:
    done = eetui(*command, EETUI_DB=copy)
    assert done.returncode == 0, done.stderr
    assert "train it again" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["compare --group-by method preset:seed", "compare preset:seed"])
def test_what_is_documented_is_the_published_database_s(command: str, eetui: Eetui, copy: str) -> None:
    documented = (PUBLISHED.parent / "docs" / "numbers.md").read_text(encoding="utf-8")
    printed = eetui(*command.split(), EETUI_DB=copy).stdout
    block = documented.partition(f"$ eetui {command}\n")[2].partition("```")[0]
    assert block.splitlines() == [line.rstrip() for line in printed.splitlines()]


def test_the_tour_looks_at_the_report_s_protocol_and_at_a_price() -> None:
    with Reader(PUBLISHED) as reader:
        shown = [reader.run(*find(reader)) for find in (trained_as_reported, with_a_price)]
        methods = {reader.run(number)["method"] for number in methods_of_one_seed(reader)}
    assert [(run["preset"], run["method"], run["seed"]) for run in shown] == [
        ("seed", "loss", 42), ("pretrained", "gain", 42)
    ]  # fmt: skip
    assert methods == {"gain", "loss", "distill", "softmax"}
