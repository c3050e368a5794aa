import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eetui import __version__
from eetui.drawing.figures import delta
from tests.conftest import TINY, TINY_TRAINING, Eetui, set_options

Done = subprocess.CompletedProcess[str]
LIGHT_COMMANDS = (["--help"], ["--version"], ["ls"], ["show", "1"], ["compare"], ["compare", "report:loss", "1"])


def test_three_methods_train_headless_are_stored_and_named(trained: Done, eetui: Eetui) -> None:
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout == ""
    rows = json.loads(eetui("ls", "--json").stdout)[:6]
    assert [row["name"] for row in rows] == [
        "distill-1", "loss-2", "softmax-3", "distill-4", "loss-5", "softmax-6",
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"finished"}
    assert all(row["tags"] == ["tiny"] and row["final_ppl"] > 1 for row in rows)


def test_off_a_terminal_progress_is_plain_lines_without_escapes(trained: Done) -> None:
    assert "\x1b" not in trained.stderr
    assert "distill-1  block0.lm  epoch 1/2  loss" in trained.stderr
    assert "loss-2  block0.lm  reused from a sibling run" in trained.stderr


def test_block_0_is_the_same_for_all_methods_of_a_seed(trained: Done, eetui: Eetui) -> None:
    rows = json.loads(eetui("ls", "--json").stdout)
    assert len({row["block0_val_ppl"] for row in rows[:3]}) == 1
    assert rows[0]["block0_val_ppl"] != rows[3]["block0_val_ppl"]


def test_the_version_is_said_without_importing_a_command_line(environment: dict[str, str]) -> None:
    code = "import sys; from eetui.__main__ import main\nmain(); assert 'typer' not in sys.modules"
    light, whole = (
        subprocess.run(
            [sys.executable, *command, "--version"],
            env=environment | {"PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=False,
        )
        for command in (["-c", code], ["-m", "eetui"])
    )
    assert light.returncode == 0, light.stderr
    assert light.stdout == whole.stdout == f"eetui {__version__}\n"


@pytest.mark.parametrize("command", LIGHT_COMMANDS, ids=" ".join)
def test_light_commands_import_neither_torch_nor_textual(command: list[str], trained: Done, environment: dict) -> None:
    code = (
        "import sys; from eetui.__main__ import main; code = 0\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'textual', 'numpy', 'pandas', 'sqlite_utils', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy and not code, (heavy, code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_compare_without_arguments_joins_the_seeds_of_the_latest_experiment(trained: Done, eetui: Eetui) -> None:
    shown = json.loads(eetui("compare", "1", "2", "3", "4", "5", "6", "--format", "json").stdout)
    assert [run["title"] for run in shown["runs"]] == ["distill ×2", "loss ×2", "softmax ×2"]
    final = next(row for row in shown["final"] if row["metric"] == "final_ppl")
    rows = json.loads(eetui("ls", "--json").stdout)
    mean = (rows[0]["final_ppl"] + rows[3]["final_ppl"]) / 2
    assert final["values"][0]["mean"] == pytest.approx(mean)
    assert final["values"][0]["deviation"] > 0
    assert set(shown["recommended"]) == {"accuracy", "compute", "balance"}


def test_compare_marks_the_best_by_sign_and_prints_every_format(trained: Done, eetui: Eetui) -> None:
    table = eetui("compare", "1", "2", "3")
    assert table.returncode == 0
    assert "★" in table.stdout
    assert "one seed: 42" in table.stdout
    assert "\x1b" not in table.stdout
    assert "| Final PPL (early exit) |" in eetui("compare", "1", "2", "3", "--format", "md").stdout
    lines = list(csv.DictReader(io.StringIO(eetui("compare", "1", "2", "--format", "csv").stdout)))
    assert {line["table"] for line in lines} == {"final", "training", "config"}
    assert sum(int(line["best"]) for line in lines if line["metric"] == "final_ppl") == 1


def test_only_changed_leaves_out_rows_in_which_all_agree(trained: Done, eetui: Eetui) -> None:
    whole = json.loads(eetui("compare", "1", "2", "--json").stdout)
    changed = json.loads(eetui("compare", "1", "2", "--json", "--only-changed").stdout)
    assert "shallow_target" in {row["metric"] for row in whole["final"]}
    assert "shallow_target" not in {row["metric"] for row in changed["final"]}


def test_the_report_stands_beside_own_runs_but_is_not_ranked_with_them(trained: Done, eetui: Eetui) -> None:
    shown = json.loads(eetui("compare", "report:distill", "report:loss", "2", "--json").stdout)
    final = next(row for row in shown["final"] if row["metric"] == "final_ppl")
    assert [value["mean"] for value in final["values"]][:2] == [1095.46, 1071.76]
    assert final["best"] == [1]
    assert any("different tokens" in note for note in shown["notes"])


def test_compare_holds_the_others_against_a_baseline_in_every_format(trained: Done, eetui: Eetui) -> None:
    plain = json.loads(eetui("compare", "1", "3", "--json").stdout)
    done = json.loads(eetui("compare", "1", "3", "--baseline", "loss-2", "--json").stdout)
    assert "baseline" not in plain
    assert done["baseline"] == "loss-2"
    assert [run["title"] for run in done["runs"]] == ["loss-2", "distill-1", "softmax-3"]
    own, *others = (value["mean"] for value in done["final"][0]["values"])
    assert done["final"][0]["deltas"] == [None, *(pytest.approx(other / own - 1) for other in others)]
    among = ("compare", "1", "2", "--baseline", "2")
    assert "loss-2 (one seed: 42, baseline)" in eetui(*among).stdout
    changes = [delta(json.loads(eetui(*among, "--json").stdout)["final"][0]["deltas"][0], "ppl")]
    for output in ("table", "md"):
        assert changes[0] in eetui(*among, "--format", output).stdout
    rows = list(csv.DictReader(io.StringIO(eetui(*among, "--format", "csv").stdout)))
    assert [row["delta"] != "" for row in rows if row["metric"] == "final_ppl"] == [True, False]
    assert "nowhere" in eetui("compare", "1", "--baseline", "nowhere").stderr


def test_the_report_can_be_compared_without_any_database(eetui: Eetui, tmp_path: Path) -> None:
    done = eetui("compare", "report:distill", "report:softmax", EETUI_DB=str(tmp_path / "none.db"))
    assert done.returncode == 0
    assert "1219.52" in done.stdout
    assert not (tmp_path / "none.db").exists()


def test_show_tells_config_record_and_results(trained: Done, eetui: Eetui) -> None:
    shown = json.loads(eetui("show", "distill-1", "--json").stdout)
    assert shown["config"]["train"]["max_epochs"] == 2
    assert shown["config"]["data"]["tokenizer"] == "word"
    assert len(shown["record"]["fingerprint"]) == 64
    assert shown["record"]["vocab_size"] == 22
    assert "run --no-ui" in shown["record"]["command"]
    assert shown["metrics"]["eval.oracle"] <= shown["metrics"]["eval.all blocks"]
    assert "exit.hard_ratio" in eetui("show", "1").stdout


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["method:loss"], ["loss-2", "loss-5"]),
        (["soft", "seed=43"], ["softmax-6"]),
        (["tag:tiny", "id<=2"], ["distill-1", "loss-2"]),
        (["status:failed"], []),
        (["savings>200%"], []),
    ],
)
def test_ls_filters(words: list[str], names: list[str], trained: Done, eetui: Eetui) -> None:
    assert [row["name"] for row in json.loads(eetui("ls", "--json", *words, "id<=6").stdout)] == names


def test_ls_sorts_by_a_column(trained: Done, eetui: Eetui) -> None:
    rows = json.loads(eetui("ls", "--json", "--sort", "ppl", "--reverse", "--limit", "4").stdout)
    figures = [row["final_ppl"] for row in rows]
    assert figures == sorted(figures, reverse=True)
    assert len(figures) == 4


BAD_REQUESTS = {
    "unknown key": (["run", "--no-ui", "--set", "train.lrr=1"], "did you mean train.lr?"),
    "negative rate": (
        ["run", "--no-ui", "--set", "train.lr=-1"],
        "train.lr must be > 0, got -1 (from --set train.lr=-1)",
    ),
    "hard ratio 0": (["run", "--no-ui", "--set", "hard_ratio=0"], "exit.hard_ratio must be > 0"),
    "hard ratio 1": (["run", "--no-ui", "--set", "hard_ratio=1"], "exit.hard_ratio must be < 1"),
    "unknown method": (
        ["run", "--no-ui", "--method", "los"],
        "method must be one of agree, correct, ",
    ),
    "unknown preset": (["run", "--no-ui", "--preset", "sed"], "--preset must be one of"),
    "missing corpus": (["run", "--no-ui", "--corpus", "nowhere.txt"], "does not exist"),
    "unknown dataset": (["run", "--no-ui", "--corpus", "hub:no/such"], "hub:no/such"),
    "escape in the name": (["run", "--no-ui", "--name", "\x1b[31mred"], "--name must be 1 to 200 printable"),
    "JSON of nothing": (["run", "--no-ui", "--json"], "--json prints the profile, and there is none without --profile"),
    "profile of a resumed run": (["resume", "--profile", "1"], "No such option: --profile"),
    "number as name": (["run", "--no-ui", "--name", "7"], "--name must not be a number"),
    "unknown run": (["show", "nobody"], "there is no run 'nobody'"),
    "ambiguous prefix": (["show", "distill"], "could be distill-1, distill-4"),
    "unknown report": (["compare", "report:x"], "report:distill"),
    "unknown format": (["compare", "--format", "xml"], "--format must be one of"),
    "unknown sort": (["ls", "--sort", "colour"], "can't sort by 'colour'"),
    "bad filter": (["ls", "ppl<much"], "must be a number"),
    "rm without a terminal": (["rm", "1"], "confirm with --yes"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_gets_one_clear_error_and_exit_code_2(
    arguments: list[str], message: str, trained: Done, eetui: Eetui
) -> None:
    before = eetui("ls", "--json").stdout
    done = eetui(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert eetui("ls", "--json").stdout == before


@pytest.mark.parametrize(("content", "message"), [(b"word", "windows"), (b"\xff\x00\xfe", "not UTF-8"), (b"", "empty")])
def test_a_corpus_that_is_no_good_is_refused_before_anything_is_stored(
    content: bytes, message: str, eetui: Eetui, tmp_path: Path
) -> None:
    (tmp_path / "corpus.txt").write_bytes(content)
    done = eetui("run", "--no-ui", "--corpus", str(tmp_path / "corpus.txt"), EETUI_DB=str(tmp_path / "runs.db"))
    assert done.returncode == 2
    assert message in done.stderr
    assert json.loads(eetui("ls", "--json", EETUI_DB=str(tmp_path / "runs.db")).stdout) == []


def test_a_database_that_can_not_be_opened_is_one_clear_error(text: Path, eetui: Eetui, tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "folder" / "runs.db", tmp_path):
        done = eetui("run", "--no-ui", "--corpus", str(text), EETUI_DB=str(path))
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_a_name_that_is_sql_or_markup_is_only_a_name(text: Path, eetui: Eetui, tmp_path: Path) -> None:
    name, db = "x'); DROP TABLE runs; -- [red]", str(tmp_path / "runs.db")
    options = set_options(*TINY, *TINY_TRAINING)
    done = eetui("run", "--no-ui", "-m", "softmax", "--corpus", str(text), "--name", name, *options, EETUI_DB=db)
    assert done.returncode == 0, done.stderr
    assert name in eetui("ls", EETUI_DB=db).stdout
    assert name in eetui("compare", name, "report:loss", EETUI_DB=db).stdout
    again = eetui("run", "--no-ui", "-m", "softmax", "--corpus", str(text), "--name", name, *options, EETUI_DB=db)
    assert again.returncode == 2
    assert "is taken by run 1" in again.stderr


def test_a_method_that_diverges_does_not_stop_the_others(text: Path, eetui: Eetui, tmp_path: Path) -> None:
    db = str(tmp_path / "runs.db")
    options = set_options(*TINY, *TINY_TRAINING, "lr=1e30")
    done = eetui("run", "--no-ui", "--corpus", str(text), *options, EETUI_DB=db)
    rows = json.loads(eetui("ls", "--json", EETUI_DB=db).stdout)
    assert done.returncode == 1
    assert [row["status"] for row in rows] == ["failed"] * 3
    assert "lower train.lr" in rows[0]["error"]


def test_rm_deletes_with_yes(text: Path, eetui: Eetui, tmp_path: Path) -> None:
    db = str(tmp_path / "runs.db")
    options = set_options(*TINY, *TINY_TRAINING)
    eetui("run", "--no-ui", "-m", "softmax", "-m", "correct", "--corpus", str(text), *options, EETUI_DB=db)
    assert eetui("rm", "softmax", "--yes", EETUI_DB=db).returncode == 0
    assert [row["name"] for row in json.loads(eetui("ls", "--json", EETUI_DB=db).stdout)] == ["correct-2"]
    with sqlite3.connect(db) as connection:
        assert connection.execute("SELECT count(*) FROM events WHERE run_id = 1").fetchone() == (0,)
    connection.close()


def _start(text: Path, environment: dict[str, str], db: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "eetui", "run", "--no-ui", "--corpus", str(text)]
        + [*set_options(*TINY, "machine.threads=1"), *more],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[3]), "EETUI_DB": str(db)},
        stderr=subprocess.PIPE,
        text=True,
    )


def _start_endless(text: Path, environment: dict[str, str], db: Path) -> subprocess.Popen[str]:
    """Training that would not end by itself, past its first epoch."""
    process = _start(text, environment, db, *set_options("max_epochs=100000", "patience=100000"))
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch" in line:
            break
    return process


def test_ctrl_c_ends_after_the_step_marks_the_runs_and_exits_130(
    text: Path, environment: dict[str, str], eetui: Eetui, tmp_path: Path
) -> None:
    db = tmp_path / "runs.db"
    process = _start_endless(text, environment, db)
    during = json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)
    assert [row["status"] for row in during] == ["running", "queued", "queued"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    after = json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)
    assert [row["status"] for row in after] == ["interrupted"] * 3


def test_a_killed_run_is_marked_interrupted_by_the_next_one(
    text: Path, environment: dict[str, str], eetui: Eetui, tmp_path: Path
) -> None:
    db = tmp_path / "runs.db"
    process = _start_endless(text, environment, db)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    options = set_options(*TINY, *TINY_TRAINING)
    eetui("run", "--no-ui", "-m", "softmax", "--corpus", str(text), *options, EETUI_DB=str(db))
    rows = json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)
    assert [row["status"] for row in rows] == ["interrupted"] * 3 + ["finished"]


def test_two_experiments_at_once_share_a_database(
    text: Path, environment: dict[str, str], eetui: Eetui, tmp_path: Path
) -> None:
    db = tmp_path / "runs.db"
    both = [_start(text, environment, db, *set_options("max_epochs=3", "exit_epochs=3")) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    rows = json.loads(eetui("ls", "--json", EETUI_DB=str(db)).stdout)
    assert [row["status"] for row in rows] == ["finished"] * 6
    assert sorted({row["experiment"] for row in rows}) == [1, 2]
    assert len({row["block0_val_ppl"] for row in rows}) == 1, "same config, same corpus, same machine: same numbers"
