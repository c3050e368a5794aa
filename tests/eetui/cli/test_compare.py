"""`eetui compare`: every format, the report's runs, and a baseline."""

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest

from core.store.writer import Writer
from eetui.drawing.figures import delta
from tests.conftest import Eetui
from tests.scripted_runs import add, keep_tokens, make_database, many_runs, scripted

Done = subprocess.CompletedProcess[str]


def test_compare_without_arguments_joins_the_seeds_of_the_latest_experiment(trained: Done, eetui: Eetui) -> None:
    shown = json.loads(eetui("compare", "1", "2", "3", "4", "5", "6", "--format", "json").stdout)
    assert [run["title"] for run in shown["runs"]] == ["distill ×2", "loss ×2", "softmax ×2"]
    final = next(row for row in shown["final"] if row["metric"] == "final_ppl")
    rows = json.loads(eetui("ls", "--json").stdout)
    mean = (rows[0]["final_ppl"] + rows[3]["final_ppl"]) / 2
    assert final["values"][0]["mean"] == pytest.approx(mean)
    assert final["values"][0]["deviation"] > 0
    assert set(shown["recommended"]) >= {"accuracy", "compute"}


def test_compare_marks_the_best_by_sign_and_prints_every_format(trained: Done, eetui: Eetui) -> None:
    table = eetui("compare", "1", "2", "3")
    assert table.returncode == 0
    assert "★" in table.stdout
    assert "one seed: 42" in table.stdout
    assert "\x1b" not in table.stdout
    assert "| Final PPL (early exit) |" in eetui("compare", "1", "2", "3", "--format", "md").stdout
    lines = list(csv.DictReader(io.StringIO(eetui("compare", "1", "2", "--format", "csv").stdout)))
    assert {line["table"] for line in lines} == {"final", "training", "savings", "config"}
    assert sum(int(line["best"]) for line in lines if line["metric"] == "final_ppl") == 1


def test_files_say_how_far_runs_lie_below_their_static_depths(trained: Done, eetui: Eetui) -> None:
    rows = {row["metric"]: row for row in json.loads(eetui("compare", "1", "4", "3", "--json").stdout)["savings"]}
    joined, alone = rows["price.furthest"]["values"]
    assert joined is not None
    assert alone is not None
    for end in ("low", "high"):
        assert len(rows[f"price.furthest.{end}"]["values"]) == 2
    assert 0 < rows["price.furthest.savings"]["values"][0]["mean"] <= 0.5
    assert "At one price, below them where furthest" in eetui("compare", "1", "3", "--format", "md").stdout
    assert "where furthest" not in eetui("compare", "1", "3").stdout, "a table on the screen is there at once"


def test_files_say_which_runs_are_not_held_against_static_depths(tmp_path: Path, eetui: Eetui) -> None:
    path = make_database(tmp_path / "runs.db")
    with Writer(path) as writer:
        add(writer, list(scripted("loss")), "loss", 43)
        keep_tokens(writer, 1)
    written = eetui("compare", "1", "7", "3", "--format", "md", EETUI_DB=str(path)).stdout
    kept = "keeps no statistics of its tokens (finished)"
    some = f"Savings curve of 1 of 2 seeds of loss ×2 (intervals over windows only): the other {kept}"
    for note in (some, f"No savings curve of softmax-3: it {kept}"):
        assert f"- ! {note}" in written.splitlines()
    rows = csv.DictReader(io.StringIO(eetui("compare", "1", "7", "3", "--format", "csv", EETUI_DB=str(path)).stdout))
    seeds = {(row["metric"], row["run"]): row["seeds"] for row in rows}
    assert seeds["final_ppl", "loss ×2"] == "2"
    assert seeds["line.area", "loss ×2"] == "1"


def test_only_changed_leaves_out_rows_in_which_all_agree(trained: Done, eetui: Eetui) -> None:
    whole = json.loads(eetui("compare", "1", "2", "--json").stdout)
    changed = json.loads(eetui("compare", "1", "2", "--json", "--only-changed").stdout)
    assert "shallow_target" in {row["metric"] for row in whole["final"]}
    assert "shallow_target" not in {row["metric"] for row in changed["final"]}


def test_the_report_is_shown_beside_own_runs_but_not_ranked_with_them(trained: Done, eetui: Eetui) -> None:
    shown = json.loads(eetui("compare", "report:distill", "report:loss", "2", "--json").stdout)
    final = next(row for row in shown["final"] if row["metric"] == "final_ppl")
    assert [value["mean"] for value in final["values"]][:2] == [1095.46, 1071.76]
    assert final["best"] == [], "one seed each, and no windows: no difference is clear"
    assert any("different windows" in note for note in shown["notes"])


def test_compare_gives_differences_from_a_baseline_in_every_format(trained: Done, eetui: Eetui) -> None:
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
    written = eetui(*among, "--format", "csv").stdout
    assert {len(line) for line in csv.reader(io.StringIO(written))} == {8}
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["delta"] != "" for row in rows if row["metric"] == "final_ppl"] == [True, False]
    assert "nowhere" in eetui("compare", "1", "--baseline", "nowhere").stderr
    several = eetui("compare", "1", "2", "--baseline", "method:loss")
    assert (several.returncode, "--baseline takes one run" in several.stderr) == (2, True)


def test_the_report_can_be_compared_without_any_database(eetui: Eetui, tmp_path: Path) -> None:
    done = eetui("compare", "report:distill", "report:softmax", EETUI_DB=str(tmp_path / "none.db"))
    assert done.returncode == 0
    assert "1219.52" in done.stdout
    assert not (tmp_path / "none.db").exists()


def test_compare_takes_a_filter_as_ls_does(trained: Done, eetui: Eetui) -> None:
    words = ("method:loss", "seed<43")
    shown = json.loads(eetui("compare", *words, "report:loss", "--json").stdout)
    assert [run["title"] for run in shown["runs"]] == ["report:loss", "loss-2"]
    assert [row["name"] for row in json.loads(eetui("ls", *words, "--json").stdout)] == ["loss-2"]
    for words, message in ((("ppl<0",), "no run matches 'ppl<0'"), (("pl<9",), "'pl' must be one of")):
        refused = eetui("compare", *words)
        assert (refused.returncode, message in refused.stderr) == (2, True)


def test_too_many_runs_are_pointed_to_groups(tmp_path: Path, eetui: Eetui) -> None:
    database = str(many_runs(tmp_path / "many.db", 301))
    refused = eetui("compare", "id>0", EETUI_DB=database)
    assert (refused.returncode, "301 runs match" in refused.stderr) == (2, True)
    assert eetui("compare", "id>0", "--group-by", "method", EETUI_DB=database).returncode == 0


def test_groups_are_compared_in_every_format(trained: Done, eetui: Eetui) -> None:
    told = json.loads(eetui("compare", "tag:tiny", "--group-by", "method,hard_ratio", "--json").stdout)
    assert [group["n"] for group in told["groups"]] == [2, 2, 2]
    assert len(told["pairs"]) == 3
    lines = csv.DictReader(io.StringIO(eetui("compare", "--group-by", "method", "--format", "csv").stdout))
    assert {line["table"] for line in lines} == {"group", "pair"}
    assert "| distill |" in eetui("compare", "--group-by", "method", "--format", "md").stdout
    assert "distill − loss" in eetui("compare", "--group-by", "method").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--group-by", "methd"), "did you mean method?"),
        (("--group-by", "method,"), "different keys"),
        (("--group-by", "method", "--each-seed"), "goes with neither"),
        (("report:loss", "--group-by", "method"), "not a run of the database"),
    ],
)
def test_bad_groups_are_refused(trained: Done, eetui: Eetui, words: tuple[str, ...], message: str) -> None:
    refused = eetui("compare", *words)
    assert (refused.returncode, message in refused.stderr) == (2, True)
