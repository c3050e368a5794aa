"""Runs in trackers, opened with each tracker's own reader; a tracker that is not installed is skipped."""

import os
import subprocess
import sys
from contextvars import ContextVar
from pathlib import Path

import pytest

from core.errors import TrackerError, UsageError
from core.events import Epoch, RunFailed, RunInterrupted, Step
from core.session.logged import LoggedRun
from core.store.reader import Reader
from core.store.writer import Writer
from eetui.trackers import contract
from eetui.trackers.contract import SHOWN_BY, TrackedRun, tracker
from eetui.trackers.exported import export_to
from eetui.trackers.live import Mirrors, parsed
from eetui.trackers.mirror import Mirror, tracked
from tests.eetui.trackers.reading import READERS
from tests.eetui.trackers.recorder import Recorder
from tests.hostile import ALL, poison
from tests.scripted_runs import add, append, scripted, until

EVENTS = list(scripted())
STEPS = [5 * event.epoch for event in EVENTS if isinstance(event, Epoch) and event.stage == "block0.lm"]
"""Steps of block 0 at which it was validated."""
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[3]}:{os.environ.get('PYTHONPATH', '')}"}


@pytest.fixture(autouse=True)
def _forget_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Trackio, which has one folder from its import on, be imported again."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "logs"))
    for module in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, module)


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
    assert [step for step, _ in finished.curve] == STEPS
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_no_tag_is_lost(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    with Writer(tmp_path / "runs.db") as writer:
        add(writer, EVENTS, tags=("paper", "lr=3e-4"))
    with Reader(tmp_path / "runs.db") as reader:
        export_to(name, tmp_path / "logs", reader, [1])
    (run,) = READERS[name](tmp_path / "logs")
    assert "paper" in run.tags
    assert "lr=3e-4" in run.tags


def test_a_loop_tells_trackers_its_own_config_and_nothing_that_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with LoggedRun("ours", {"lr": 0.1, "seed": 7, "model.block_layers": 12}, db=path) as run:
        run.log(eval_loss=2.0)
        run.log(eval_loss=1.0)
    with Reader(path) as reader:
        params = tracked(reader.run(run.number)).params
        recorder = Recorder()
        mirror = Mirror(recorder, reader.run(run.number))
        mirror.take(reader.events(run.number)[0], 0.0)
    assert {key: params.get(key) for key in ("lr", "seed", "logged.model.block_layers", "train.lr")} == {
        "lr": 0.1, "seed": 7, "logged.model.block_layers": 12, "train.lr": None,
    }  # fmt: skip
    assert ("table", "measurements", 1) in recorder.said


@pytest.mark.parametrize("name", SHOWN_BY)
def test_a_tracker_that_is_missing_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(contract.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=rf"{name} is not installed .*eetui\[{name}\]"):
        tracker(name, Path("logs"))


def test_what_mirror_can_not_be_is_said() -> None:
    for texts, message in (
        (["tensorboard"], "TRACKER:DIR"),
        (["tensorboard:"], "TRACKER:DIR"),
        (["board:logs"], "no tracker 'board': take one of tensorboard"),
        (["tensorboard:a", "tensorboard:b"], "takes each tracker once, got tensorboard again in 'tensorboard:b'"),
    ):
        with pytest.raises(UsageError, match=message):
            parsed(texts)


def test_a_run_in_training_is_mirrored_in_order_and_a_tracker_that_fails_is_left_out(stored: Path) -> None:
    good, bad, said = Recorder(), Recorder("block1"), list[str]()
    with Mirrors([("good", lambda: good), ("bad", lambda: bad)], stored, said.append).running() as mirrors:
        for start in range(0, len(EVENTS), 7):
            mirrors.publish(1, EVENTS[start : start + 7])
    assert said == ["bad takes no more of run 1 (OSError: the disk is full); training goes on without it"]
    assert good.said[0] == ("start", ALL)
    assert [what for what in good.said if what[0] == "end"] == [("end", "finished")]
    assert ("metric", "block1.lm/val_loss", 20) in good.said
    assert not any(what[0] == "end" for what in bad.said)


def test_a_tracker_that_failed_with_a_run_is_told_of_the_next_one(stored: Path) -> None:
    told, said = [Recorder("block0"), Recorder()], list[str]()
    new = iter(told)
    with Mirrors([("told", lambda: next(new))], stored, said.append).running() as mirrors:
        mirrors.publish(1, EVENTS)
        mirrors.publish(2, EVENTS)
    assert len(said) == 1
    assert [one.said[-1] for one in told][1:] == [("end", "finished")]


def test_a_run_that_starts_again_in_the_same_process_replaces_the_one_before(stored: Path) -> None:
    told = list[Recorder]()

    def new() -> Recorder:
        told.append(Recorder())
        return told[-1]

    with Mirrors([("told", new)], stored, print).running() as mirrors:
        mirrors.publish(1, EVENTS[:9])
        lost = [Step("block0.lm", 1, 99, 5.0, 8, 0.1)]  # in one batch with the start in another place
        mirrors.publish(1, [*lost, *EVENTS[:5], RunInterrupted("stopped by the user", 1.0)])
        mirrors.publish(1, EVENTS)
    assert [one.said[-1] for one in told] == [("end", "interrupted"), ("end", "interrupted"), ("end", "finished")]
    assert not any(99 in what for one in told for what in one.said)
    assert [len([what for what in one.said if what[0] == "end"]) for one in told] == [1, 1, 1]


def test_runs_that_train_at_once_do_not_end_each_other(stored: Path) -> None:
    current: ContextVar[Recorder | None] = ContextVar("current", default=None)

    class OneAtATime(Recorder):
        def start(self, run: TrackedRun) -> None:
            super().start(run)
            if before := current.get():
                before.end("finished", 0.0)
            current.set(self)

    told = [OneAtATime(), OneAtATime()]
    new = iter(told)
    with Mirrors([("told", lambda: next(new))], stored, print).running() as mirrors:
        for start in range(0, len(EVENTS), 7):
            for run in (1, 2):
                mirrors.publish(run, EVENTS[start : start + 7])
    assert [[what for what in one.said if what[0] == "end"] for one in told] == [[("end", "finished")]] * 2


KILLED = """
import os, sys
from pathlib import Path
from eetui.trackers.live import Mirrors, parsed
from tests.scripted_runs import scripted
with Mirrors(parsed([sys.argv[1]]), Path(sys.argv[2]), print).running() as mirrors:
    mirrors.publish(1, list(scripted())[:60])
    while mirrors._waiting.qsize():
        pass
    os._exit(9)
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_run_whose_worker_is_killed_and_that_another_finishes_is_one_run(
    name: str, stored: Path, tmp_path: Path
) -> None:
    pytest.importorskip(name)
    folder, said = tmp_path / "logs", list[str]()
    words = [sys.executable, "-c", KILLED, f"{name}:{folder}", str(stored)]
    killed = subprocess.run(words, env=ENVIRONMENT, check=False)
    assert killed.returncode == 9
    with Mirrors(parsed([f"{name}:{folder}"]), stored, said.append).running() as mirrors:
        mirrors.publish(1, EVENTS)
    assert said == []
    if name == "wandb":  # which keeps a folder of every time, with one id
        assert len({path.name for path in folder.rglob("*.wandb")}) == 1
        return
    (run,) = READERS[name](folder)
    assert [step for step, _ in run.curve] == STEPS
    assert run.final["final_ppl"] == pytest.approx(212.7, rel=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_several_processes_write_into_one_folder_at_once(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    path, folder, runs = tmp_path / "runs.db", tmp_path / "logs", range(1, 5)
    with Writer(path) as writer:
        for run in runs:
            add(writer, EVENTS, name=f"run-{run}")
    command = [sys.executable, "-m", "eetui", "export", "--to", name, "--output", str(folder), "--db", str(path)]
    writers = [subprocess.Popen([*command, str(run)], stderr=subprocess.PIPE, env=ENVIRONMENT) for run in runs]
    said = [one.communicate()[1] for one in writers]
    assert [one.returncode for one in writers] == [0] * 4, said
    found = READERS[name](folder)
    assert len(found) == 4
    assert [[step for step, _ in run.curve] for run in found] == [STEPS] * 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_runs_of_the_same_number_and_name_in_two_databases_are_two(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    folder = tmp_path / "logs"
    for path in (tmp_path / "one.db", tmp_path / "two.db"):
        with Writer(path) as writer:
            run = add(writer, EVENTS, name="same")
        with Reader(path) as reader:
            export_to(name, folder, reader, [run])
    assert len(READERS[name](folder)) == 2


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
