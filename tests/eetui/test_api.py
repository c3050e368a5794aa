"""The Python face: what it reads is what the store holds, and what it trains is stored."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetui
from core.errors import ConfigError, RunLookupError, StoreError, UsageError
from core.events import Epoch, RunFinished, RunInterrupted, Step
from core.store.reader import Reader
from eetui.trackers.contract import Tracker
from tests.conftest import TINY, TINY_TRAINING
from tests.eetui.trackers import notebook

DOCS = Path(__file__).parents[2] / "docs"


def tiny(text: Path) -> dict[str, Any]:
    pairs = (assignment.split("=", 1) for assignment in (*TINY, *TINY_TRAINING))
    values: dict[str, Any] = {name: [*map(int, value.split(","))] for name, value in pairs}
    return {name: value[0] if len(value) == 1 else value for name, value in values.items()} | {"data.corpus": str(text)}


@pytest.fixture(scope="module")
def path(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with two finished runs: loss and softmax."""
    path = tmp_path_factory.mktemp("api") / "runs.db"
    training = eetui.train(["loss", "softmax"], config=tiny(text), tags=["tiny"], db=path)
    ended = [run for run, event in training if isinstance(event, RunFinished)]
    assert training.statuses == ("finished", "finished")
    assert ended == [*training.runs]
    return path


def test_importing_it_imports_none_of_the_slow_packages() -> None:
    code = "import sys, eetui; print({'torch', 'textual', 'pydantic', 'numpy', 'pandas', 'typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open'"):
        _ = eetui.open


def test_runs_are_found_by_filter_number_name_and_prefix(path: Path) -> None:
    with eetui.Database(path) as database:
        assert len(database) == 2
        assert [run.method for run in database] == ["loss", "softmax"]
        assert [run.number for run in database.runs("method:softmax tag:tiny")] == [2]
        by_ppl = database.runs(sort="ppl", descending=True)
        assert by_ppl[0].metrics["final_ppl"] >= by_ppl[1].metrics["final_ppl"]
        assert database[1].name == database["loss-1"].name == database.run("loss").name == "loss-1"
        assert [run.number for run in database.latest()] == [1, 2]


def test_a_run_tells_what_the_store_tells(path: Path) -> None:
    with eetui.Database(path) as database, Reader(path) as reader:
        run = database[1]
        assert (run.seed, run.status, run.preset, run.tags, run.notes) == (42, "finished", "sound", ("tiny",), ())
        assert run.state == reader.state(1)
        assert run.events() == reader.events(1)[0]
        assert not any(isinstance(event, Step) for event in run.events(steps=False))
        assert run.config["model.block_layers"] == [1, 1]
        assert run.record["vocab_size"] == len(run.vocabulary())
        assert repr(run) == "<eetui.Run 1 'loss-1' finished>"
        assert run.state.final is not None
        assert run.window_losses().mean() == pytest.approx(run.state.final.loss, abs=1e-6)


def test_tokens_come_as_arrays_that_give_the_runs_own_figures(path: Path) -> None:
    with eetui.Database(path) as database:
        table = database[1].tokens()
        alone = database[1].state.measure("alone", 0)
    assert table.cross_entropy.shape == (2, table.tokens)
    assert alone is not None
    assert table.mean_loss[0] == pytest.approx(alone.loss)
    assert table.correct[0].mean() == alone.accuracy


def test_data_frames_have_a_row_for_each_run_epoch_and_token(path: Path) -> None:
    pytest.importorskip("pandas")
    with eetui.Database(path) as database:
        frame = database.frame(sort="ppl")
        run = database[1]
        epochs, tokens, table = run.epochs_frame(), run.tokens_frame(), run.tokens()
        assert database.frame("method:gain").empty
        assert len(epochs) == sum(len(stage.history) for stage in run.state.stages)
        final_ppl = run.metrics["final_ppl"]
    assert set(frame["name"]) == {"loss-1", "softmax-2"}
    assert frame.set_index("id").loc[1, "final_ppl"] == final_ppl
    assert np.array_equal(tokens["block1.cross_entropy"], table.cross_entropy[1])
    assert "block1.signal" not in tokens


def test_without_pandas_a_data_frame_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with eetui.Database(path) as database, pytest.raises(UsageError, match="pip install pandas"):
        database.frame()


def test_leaving_the_loop_interrupts_the_run_which_keeps_its_place(text: Path, tmp_path: Path) -> None:
    training = eetui.train(["loss"], config={**tiny(text), "max_epochs": 500, "patience": 500}, db=tmp_path / "runs.db")
    for _, event in training:
        if isinstance(event, Epoch):
            break
    assert training.statuses == ("interrupted",)
    assert isinstance([*training][-1][1], RunInterrupted), "what the loop has not seen"
    assert [*training] == []
    with eetui.Database(tmp_path / "runs.db") as database:
        assert isinstance(database[1].events()[-1], RunInterrupted)
        with pytest.raises(UsageError, match="keeps no statistics"):
            database[1].tokens()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"methods": ["nonsense"]}, ConfigError),
        ({"config": {"lr": -1}}, ConfigError),
        ({"name": "7"}, ConfigError),
        ({"methods": "loss"}, ConfigError),
        ({"tags": "paper"}, ConfigError),
        ({"mirror": "tensorboard:logs"}, ConfigError),
    ],
)
def test_bad_requests_are_refused_before_anything_is_stored(
    arguments: dict[str, Any], error: type[Exception], text: Path, tmp_path: Path
) -> None:
    values = {**tiny(text), **arguments.pop("config", {})}
    with pytest.raises(error):
        eetui.train(config=values, db=tmp_path / "runs.db", **arguments)
    assert not (tmp_path / "runs.db").exists()


def test_trackers_are_told_before_the_loop_ends(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "eetui.trackers.to_tensorboard", notebook)
    logs, db = tmp_path / "logs", tmp_path / "runs.db"
    training = eetui.train(["loss", "softmax"], config=tiny(text), db=db, mirror=[f"tensorboard:{logs}"])
    assert sum(isinstance(event, RunFinished) for _, event in training) == 2
    notes = {path.stem: path.read_text().splitlines() for path in logs.glob("*.txt")}
    assert [lines[-1] for _, lines in sorted(notes.items())] == ["end finished"] * 2
    monkeypatch.setattr(notebook, "new", broken)
    assert len([*eetui.train(["loss"], config=tiny(text), db=db, mirror=[f"tensorboard:{logs}"])]) > 2
    assert "takes no more of run 3 (OSError: no room); training goes on without it" in caplog.text


def broken(folder: Path) -> Tracker:
    raise OSError("no room")


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_stored(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no tracker 'board'"):
        eetui.train(config=tiny(text), db=tmp_path / "runs.db", mirror=["board:logs"])
    assert not (tmp_path / "runs.db").exists()


def test_what_was_not_read_before_closing_says_that_it_is_closed(path: Path) -> None:
    with eetui.Database(path) as database:
        run = database[1]
        assert run.name == "loss-1"
    assert run.name == "loss-1"
    with pytest.raises(StoreError, match="is closed"):
        run.events()


def test_bad_lookups_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        eetui.Database(tmp_path / "none.db")
    with eetui.Database(path) as database:
        with pytest.raises(RunLookupError):
            database.run("other")
        with pytest.raises(UsageError, match="must be one of"):
            database.runs("nonsense:1")


def test_the_page_on_python_runs_as_it_stands(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(text.read_text() * 4)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), re.DOTALL)
    tiny_values = {**tiny(text), "data.corpus": "text.txt"}
    code = "\n".join(blocks).replace('"max_epochs": 2,', f'"max_epochs": 2, **{tiny_values!r},')
    names: dict[str, Any] = {}
    exec(compile(code, "docs/python.md", "exec"), names)
    assert len(names["runs"]) == 3
