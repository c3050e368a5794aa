"""`eetui run --profile`: its output, the profile in `show` and on the Live screen, and shares of the peak."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from core.errors import UsageError
from core.events import Event, Profiled, RunInterrupted, RunStarted, StageEnded, StageStarted
from core.state import RunState
from core.store.writer import Writer
from eetui.cli import main as cli
from eetui.cli import train
from eetui.drawing.palette import Palette
from eetui.live.situation import Machine, StageRow
from eetui.live.stage_view import Picture
from eetui.live.text import facts, facts_line, hint, stage_facts
from eetui.summary.profile import BETWEEN, profile_object, run_parts, stage_parts
from eetui.summary.profile_text import profile_tables, stage_profile
from tests.conftest import TINY, TINY_TRAINING, Eetui, set_options
from tests.eetui.driving import until_true
from tests.eetui.live.watched import shown, watching, words
from tests.scripted_runs import add, scripted, state_of

STYLE = Palette()
PEAK = 100e9
PROFILE = Profiled(
    "block0.lm",
    10.0,
    ("data", "events", "forward", "head", "backward", "validation", "checkpoint"),
    (0.5, 0.25, 2.0, 4.0, 2.0, 1.0, 0.001),
    (0.0, 0.0, 60e9, 200e9, 100e9, 20e9, 0.0),
)


def profiled(*, reused: bool = False) -> Iterator[Event]:
    """Yield the scripted run with a profile of block 0 and a known peak."""
    for event in scripted():
        match event:
            case RunStarted():
                yield replace(event, peak_flops=PEAK)
            case StageStarted(kind="lm"):
                yield replace(event, flops=1e6, reused=reused and event.block == 0)
            case StageEnded(stage="block0.lm"):
                yield PROFILE
                yield replace(event, seconds=10.5)
            case _:
                yield event


PROFILED = state_of(profiled())


def printed(state: RunState) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(profile_tables(state))
    return capture.get()


# Figures
def test_the_parts_of_a_stage_add_up_to_it_and_events_come_last() -> None:
    parts = stage_parts(PROFILE)
    assert sum(part.seconds for part in parts) == pytest.approx(10.0)
    assert [part.name for part in parts][-2:] == ["events", "other"]
    assert parts[-1].seconds == pytest.approx(0.249)
    unknown = replace(PROFILE, parts=("events", "new part"), part_seconds=(1.0, 1.0), part_flops=(0.0, 0.0))
    assert [part.name for part in stage_parts(unknown)] == ["new part", "events", "other"]


def test_the_time_of_a_run_is_its_own_stages_and_the_time_between_them() -> None:
    parts = {part.name: part for part in run_parts(PROFILED)}
    others = sum(stage.seconds or 0.0 for stage in PROFILED.stages)
    assert parts["head"].seconds == 4.0
    assert parts[BETWEEN].seconds == max(12.5 - others, 0.0)
    assert BETWEEN not in {part.name for part in run_parts(state_of(list(profiled())[:40]))}


def test_the_time_of_a_stage_that_did_not_end_is_not_between_stages() -> None:
    stopped = state_of([*list(profiled())[:40], RunInterrupted("stopped by the user", 3600.0)])
    assert BETWEEN not in {part.name for part in run_parts(stopped)}


def test_a_reused_stage_is_shown_but_not_counted() -> None:
    state = state_of(profiled(reused=True))
    assert "head" not in {part.name for part in run_parts(state)}
    (line,) = [line for line in printed(state).splitlines() if "block0.lm" in line]
    assert line.split() == ["block0.lm", "reused", "10.5s"]
    shown_object = profile_object(state)
    assert shown_object is not None
    assert shown_object["stages"][0]["reused"] is True
    assert "in a sibling run or before" in stage_profile(state.stages[0], PEAK, 100, 20, STYLE).plain


def test_json_has_rates_and_shares_of_the_peak() -> None:
    found = profile_object(PROFILED)
    assert found is not None
    assert found["peak_flops"] == PEAK
    stage = found["stages"][0]
    head = next(part for part in stage["parts"] if part["part"] == "head")
    assert (head["seconds"], head["flops_per_second"], head["share_of_peak"]) == (4.0, 50e9, 0.5)
    assert stage["share_of_peak"] == pytest.approx(0.38)
    assert found["stages"][1]["parts"] is None
    assert profile_object(state_of(scripted())) is None


# Text
def test_the_table_names_every_part_with_its_rate() -> None:
    text = printed(PROFILED)
    assert "matmuls reached 100.0 GFLOP/s" in text
    (head,) = [line.split() for line in text.splitlines() if line.split()[:1] == ["head"]][:1]
    assert head == ["head", "4.00s", "40.0%", "50.0", "50%"]
    assert "38.0" in text
    assert "checkpoint" not in text, "a ten-thousandth of the time"


def test_a_low_table_keeps_the_largest_parts_and_all_of_the_time() -> None:
    lines = stage_profile(PROFILED.stages[0], PEAK, 78, 6, STYLE).plain.splitlines()
    assert len(lines) == 6
    assert [line.split()[0] for line in lines] == ["part", "forward", "head", "backward", "other", "all"]
    assert lines[-2].split()[1:3] == ["2.00s", "20.0%"]
    assert max(map(len, lines)) <= 78


def test_a_stage_that_is_not_profiled_says_how_to_profile_it() -> None:
    text = stage_profile(PROFILED.stages[1], PEAK, 78, 10, STYLE).plain
    assert "not profiled" in text
    assert "eetui run --profile" in text


def test_the_share_of_the_peak_fits_beside_the_other_facts_of_80_columns() -> None:
    """Expect 10%: 51,200 tokens in 5 s at 10⁶ FLOPs each are a tenth of 100 GFLOP/s."""
    machine = Machine("cpu, 1 thread, float32", 300 * 2**20, "peak", 3, PEAK)
    stage = replace(PROFILED.stages[0], step_tokens=51_200, step_seconds=5.12)
    line = facts_line(facts(stage, machine), 78, STYLE)
    assert line.cell_len <= 78
    assert " 10% of peak" in line.plain
    table = stage_facts(StageRow("block0.lm", "done", stage), machine, 54, STYLE, in_lines=True).plain
    assert "10.0 GFLOP/s   10% of peak" in table


def test_without_a_step_the_share_is_missing_and_as_wide() -> None:
    machine = Machine(peak=PEAK)
    begun, stepped = (replace(PROFILED.stages[0], seconds=None, step_tokens=n, step_seconds=5.12) for n in (0, 51_200))
    widths = {
        next(len(fact.brief) for fact in facts(stage, machine) if fact.label == "computing")
        for stage in (begun, stepped)
    }
    assert len(widths) == 1


def test_a_stage_of_unknown_flops_has_no_share() -> None:
    (stage, *_) = state_of(scripted()).stages
    assert "computing" not in {fact.label for fact in facts(stage, Machine(peak=PEAK))}


def test_the_hint_names_the_key_where_there_are_times() -> None:
    assert "t shows its times" in hint("finished", None, profiled=True)
    assert "times" not in hint("finished", None)


async def test_t_shows_the_profile_of_the_selected_stage(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    with Writer(database) as writer:
        run = add(writer, list(profiled()))
    async with watching(database, run) as (pilot, _, screen):
        for _ in range(10):
            await pilot.press("up")
        await pilot.pause()
        assert "of peak" in words(screen, "facts")
        await pilot.press("t")
        picture = screen.query_one(Picture)
        await until_true(pilot, lambda: "head" in shown(picture))
        text = shown(picture)
        assert all(part in text for part in ("data", "forward", "backward", "events", "all"))
        assert max(len(line.rstrip()) for line in text.splitlines()) < 80
        await pilot.press("down")
        await until_true(pilot, lambda: "not profiled" in shown(picture))
        await pilot.press("t")
        await until_true(pilot, lambda: "not profiled" not in shown(picture))


# The command


@pytest.fixture(scope="module")
def trained_database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("profile") / "runs.db")


@pytest.fixture(scope="module")
def trained_profiled(eetui: Eetui, text: Path, trained_database: str) -> subprocess.CompletedProcess[str]:
    """Train two methods with two seeds each, profiled."""
    options = set_options(*TINY, *TINY_TRAINING)
    words = ["run", "--no-ui", "--profile", "--json", "-m", "loss", "-m", "softmax", "--seeds", "2"]
    return eetui(*words, "--corpus", str(text), *options, EETUI_DB=trained_database)


def test_json_goes_to_standard_output_an_object_a_run(trained_profiled: subprocess.CompletedProcess[str]) -> None:
    assert trained_profiled.returncode == 0, trained_profiled.stderr
    runs = json.loads(trained_profiled.stdout)
    assert [run["name"] for run in runs] == ["loss-1", "softmax-2", "loss-3", "softmax-4"]
    for run in runs:
        stages = {stage["stage"]: stage for stage in run["profile"]["stages"]}
        reused = run["name"].startswith("softmax")
        assert stages["block0.lm"]["reused"] is reused
        assert stages["block1.lm"]["reused"] is False
        parts = {part["part"] for part in stages["block1.lm"]["parts"]}
        assert parts >= {"data", "forward", "head", "backward", "optimizer", "validation", "events"}
        assert run["profile"]["peak_flops"] > 1e6


def test_show_prints_the_profile(
    trained_profiled: subprocess.CompletedProcess[str], trained_database: str, eetui: Eetui
) -> None:
    kept = json.loads(eetui("show", "2", "--json", EETUI_DB=trained_database).stdout)["profile"]
    assert kept == json.loads(trained_profiled.stdout)[1]["profile"]
    text = eetui("show", "2", EETUI_DB=trained_database).stdout
    assert "matmuls reached" in text
    assert "reused" in text


def test_without_json_tables_are_printed_and_nothing_but_them(eetui: Eetui, text: Path, tmp_path: Path) -> None:
    options = set_options(*TINY, *TINY_TRAINING)
    database = str(tmp_path / "runs.db")
    done = eetui("run", "--no-ui", "--profile", "-m", "loss", "--corpus", str(text), *options, EETUI_DB=database)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loss-1 (run 1)\n")
    assert "epoch" not in done.stdout
    assert "\x1b" not in done.stdout
    assert "GFLOP/s" in done.stdout


def test_a_profile_changes_no_number(
    trained_profiled: subprocess.CompletedProcess[str], trained_database: str, eetui: Eetui, text: Path, tmp_path: Path
) -> None:
    options = set_options(*TINY, *TINY_TRAINING)
    plain = str(tmp_path / "runs.db")
    eetui("run", "--no-ui", "-m", "loss", "--corpus", str(text), *options, EETUI_DB=plain)
    found, expected = (
        json.loads(eetui("show", "1", "--json", EETUI_DB=path).stdout)["metrics"] for path in (trained_database, plain)
    )
    for key in ("time_savings", "time_savings_low", "time_savings_high"):
        assert found.pop(key) < 1
        assert expected.pop(key) < 1
    assert found == expected


def test_json_in_the_console_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train, "has_terminal", lambda: True)
    result = CliRunner().invoke(cli.app, ["--db", str(tmp_path / "runs.db"), "run", "--profile", "--json"])
    assert isinstance(result.exception, UsageError)
    assert "add --no-ui" in str(result.exception)
    assert not (tmp_path / "runs.db").exists()
