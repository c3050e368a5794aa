"""Runs in trackers, opened with each tracker's own reader; a tracker that is not installed is skipped."""

import subprocess
import sys
from contextvars import ContextVar
from pathlib import Path

import pytest

from core.errors import TrackerError, UsageError
from core.events import Epoch, RunFailed
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.trackers import contract
from eetui.trackers.contract import SHOWN_BY, TrackedRun, tracker
from eetui.trackers.exported import export_to
from eetui.trackers.live import Mirrors, parsed
from tests.eetui.trackers.reading import READERS
from tests.eetui.trackers.recorder import Recorder
from tests.hostile import ALL, poison
from tests.scripted_runs import add, append, scripted, until

EVENTS = list(scripted())


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Store a finished run that was started twice, with hostile texts, and a failed one."""
    path = tmp_path / "runs.db"
    with Writer(path) as writer:
        run = add(writer, EVENTS[:9], name="again", tags=("paper",))
        append(writer, run, EVENTS)
        add(writer, [*until(iter(EVENTS), "block0.lm", 2), RunFailed("diverged", "", 1.0)], "distill")
    poison(path)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_tracker_holds_what_its_own_reader_finds(name: str, stored: Path, tmp_path: Path) -> None:
    pytest.importorskip(name)
    folder = tmp_path / "logs"
    with Reader(stored) as reader:
        export_to(name, folder, reader, [1, 2])
        if name != "wandb":  # which keeps a folder of every time, with one id
            export_to(name, folder, reader, [1])
    runs = sorted(READERS[name](folder), key=lambda run: -len(run.curve))
    assert len(runs) == 2
    finished, failed = runs
    epochs = [event for event in EVENTS if isinstance(event, Epoch) and event.stage == "block0.lm"]
    steps = [5 * epoch.epoch for epoch in epochs]
    assert [step for step, _ in finished.curve] == steps
    assert [value for _, value in finished.curve] == pytest.approx([epoch.val_loss for epoch in epochs], rel=1e-6)
    assert len(failed.curve) == 2
    assert finished.final["final_ppl"] == pytest.approx(212.7, rel=1e-3)
    assert "final_ppl" not in failed.final
    assert float(finished.params["train.patience"]) == 3
    assert finished.params["method"] == "loss"
    assert "final" in finished.tables
    assert "all blocks" in finished.tables["final"].lower()
    assert "loses to block 0" in finished.tables["warnings"]
    assert "loss" in finished.tags
    assert (finished.status, failed.status) in [("finished", "failed"), ("", "")]


@pytest.mark.parametrize("name", SHOWN_BY)
def test_a_tracker_that_is_missing_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(contract.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=rf"{name} is not installed .*eetui\[{name}\]"):
        tracker(name, Path("logs"))


def test_what_mirror_can_not_be_is_said() -> None:
    for text in ("tensorboard", "tensorboard:", "board:logs"):
        with pytest.raises(UsageError, match=r"TRACKER:DIR|no tracker 'board': take one of tensorboard"):
            parsed([text])


def test_a_run_in_training_is_mirrored_in_order_and_a_tracker_that_fails_is_left_out(stored: Path) -> None:
    good, bad, said = Recorder(), Recorder("block1"), list[str]()
    with Mirrors([("good", lambda: good), ("bad", lambda: bad)], stored, said.append).running() as mirrors:
        for start in range(0, len(EVENTS), 7):
            mirrors.publish(1, EVENTS[start : start + 7])
    assert said == ["bad takes no more (OSError: the disk is full); training goes on without it"]
    assert good.said[0] == ("start", ALL)
    assert [what for what in good.said if what[0] == "end"] == [("end", "finished")]
    assert ("metric", "block1.lm/val_loss", 20) in good.said
    assert not any(what[0] == "end" for what in bad.said)


def test_a_run_without_an_end_ends_with_the_command(stored: Path) -> None:
    good = Recorder()
    with Mirrors([("good", lambda: good)], stored, print).running() as mirrors:
        mirrors.publish(1, EVENTS[:5])
    assert good.said[-1] == ("end", "interrupted")


def test_what_a_tracker_raises_in_an_export_is_one_error(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eetui.trackers.exported.tracker", lambda *_: lambda: Recorder("block0"))
    with Reader(stored) as reader, pytest.raises(TrackerError, match=r"x did not take run 1 into logs \(OSError"):
        export_to("x", Path("logs"), reader, [1])


def test_an_export_keeps_standard_output_clean_to_the_end_of_the_process(stored: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    words = ["--db", str(stored), "export", "1", "2", "--to", "trackio", "--output", str(tmp_path / "logs")]
    done = subprocess.run([sys.executable, "-m", "eetui", *words], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.startswith("wrote 2 runs")


def test_a_tracker_s_current_run_is_gone_after_an_export(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current: ContextVar[str | None] = ContextVar("current", default=None)

    class Remembers(Recorder):
        def start(self, run: TrackedRun) -> None:
            current.set(run.name)

    monkeypatch.setattr("eetui.trackers.exported.tracker", lambda *_: Remembers)
    with Reader(stored) as reader:
        export_to("x", Path("logs"), reader, [1, 2])
    assert current.get() is None
