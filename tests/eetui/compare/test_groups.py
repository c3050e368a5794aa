"""Groups of runs: means over seeds, pairs, what is not compared, and every format."""

import csv
import json
import math
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from core.errors import UsageError
from core.events import Measured, RunFinished
from core.metrics import FINAL_PPL
from core.store.new_runs import NewRun
from core.store.reader import Query, Reader
from core.store.writer import Writer
from eetui.compare import groups
from eetui.compare.groups import Grouping, group_runs
from eetui.compare.groups_text import as_csv, as_json, as_markdown, as_tables
from eetui.compare.latex import groups_as_latex
from tests.scripted_runs import RECORD, append, config, until
from tests.scripted_runs import scripted as scripted_run

Row = tuple[str, int, float, float]
"""Method, seed, hard ratio, loss."""
WINDOWS = 48
METHODS = {"loss": 5.0, "softmax": 5.3, "distill": 5.01}


def stored(path: Path, rows: Sequence[Row], record: dict[str, object] = RECORD) -> Path:
    """Store finished runs whose windows are around their loss."""
    with Writer(path) as writer:
        for method, seed, ratio, loss in rows:
            text = config(method, seed, hard_ratio=ratio).model_dump_json()
            (run,) = writer.create_experiment([NewRun(None, method, seed, "seed", text, record)])
            started = until(scripted_run(method), "block0.lm", 1)
            windows = tuple(loss + 0.1 * math.sin(place) for place in range(WINDOWS))
            measured = Measured(
                "evaluation", "early exit", None, "eval", "all", WINDOWS * 8, loss, 0.2, (0.5, 0.5), 0.25, windows
            )
            append(writer, run, [*started, measured, RunFinished(1.0, 2**20)])
    return path


def grid(methods: Sequence[str] = tuple(METHODS), ratios: Sequence[float] = (0.3,), seeds: int = 3) -> list[Row]:
    """Return rows of every combination; seeds and methods differ by some hundredths beside what makes them."""
    return [
        (method, seed, ratio, METHODS[method] + ratio + 0.1 * seed + 0.02 * math.sin(5 * seed * len(method)))
        for method in methods
        for ratio in ratios
        for seed in range(1, seeds + 1)
    ]


def grouped(path: Path, *keys: str, where: str = "1") -> Grouping:
    with Reader(path) as reader:
        return group_runs(reader, Query(where), keys)


def test_groups_have_means_over_seeds_and_pairs_are_clear_or_may_be_noise(tmp_path: Path) -> None:
    rows = grid()
    found = grouped(stored(tmp_path / "runs.db", rows), "method")
    assert [(group.values, group.runs, group.seeds) for group in found.groups] == [
        ((method,), 3, (1, 2, 3)) for method in ("distill", "loss", "softmax")
    ]
    ppls = [math.exp(loss) for method, *_, loss in rows if method == "loss"]
    assert found.groups[1].figures[FINAL_PPL].mean == pytest.approx(sum(ppls) / 3, rel=1e-6)
    near, *far = found.pairs
    assert near.interval is not None
    assert near.interval.kind == "seeds and windows"
    assert (near.clear, near.needed is not None) == (False, True)
    assert [(pair.clear, pair.needed) for pair in far] == [(True, None), (True, None)]
    assert found.notes == ()


def test_runs_of_one_seed_are_one_draw_and_what_is_averaged_over_is_said(tmp_path: Path) -> None:
    found = grouped(stored(tmp_path / "runs.db", grid(ratios=(0.3, 0.5))), "method")
    assert [(group.runs, len(group.seeds)) for group in found.groups] == [(6, 3)] * 3
    assert found.notes == ("averaged over exit.hard_ratio",)
    apart = grouped(tmp_path / "runs.db", "method", "hard_ratio")
    assert [group.values for group in apart.groups[:2]] == [("distill", "0.3"), ("distill", "0.5")]
    assert (len(apart.pairs), apart.notes) == (15, ())


def test_what_the_groups_do_not_have_equally_is_a_warning(tmp_path: Path) -> None:
    rows = [row for row in grid(("loss", "softmax"), (0.3, 0.5)) if row[0] == "loss" or row[2] == 0.3]
    within, between = grouped(stored(tmp_path / "runs.db", rows), "method").notes
    assert within == "loss: its 6 runs of 3 seeds are averaged over exit.hard_ratio"
    assert between.startswith("not equally in every group and seed: exit.hard_ratio;")


def test_what_a_group_s_seeds_do_not_have_alike_is_a_warning_of_that_group(tmp_path: Path) -> None:
    rows = [row for row in grid(("loss",), (0.3, 0.5)) if row[1] != 2 or row[2] == 0.3]
    (note,) = grouped(stored(tmp_path / "runs.db", rows), "method").notes
    assert note.startswith("loss: its 5 runs of 3 seeds differ in exit.hard_ratio, and not alike with every seed, so")


def test_groups_of_other_windows_are_not_compared_and_mixed_ones_have_no_figures(tmp_path: Path) -> None:
    path = stored(tmp_path / "runs.db", grid(("loss",)))
    stored(path, grid(("softmax",)), RECORD | {"fingerprint": "e" * 64})
    stored(path, grid(("distill",), seeds=1))
    stored(path, grid(("distill",), seeds=1), RECORD | {"fingerprint": "e" * 64})
    found = grouped(path, "method")
    mixed = "runs of distill are evaluated on different windows"
    assert [pair.reason for pair in found.pairs] == [mixed, mixed, "different windows"]
    assert found.groups[0].figures == {}
    assert [bool(group.figures) for group in found.groups] == [False, True, True]
    assert found.notes[0].startswith("evaluated on different windows, so without figures: distill")


def test_single_seeds_are_over_windows_and_different_numbers_of_seeds_unpaired(tmp_path: Path) -> None:
    rows = [*grid(("loss", "softmax"), seeds=1), *grid(("distill",))]
    pairs = grouped(stored(tmp_path / "runs.db", rows), "method").pairs
    assert [pair.interval.kind if pair.interval else pair.reason for pair in pairs] == [
        "one seed, spread over seeds unknown", "one seed, spread over seeds unknown", "windows",
    ]  # fmt: skip


def test_beyond_the_runs_that_are_read_intervals_are_over_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path / "runs.db", grid())
    monkeypatch.setattr(groups, "MOST_READ", 8)
    found = grouped(path, "method")
    assert {pair.interval.kind for pair in found.pairs if pair.interval} == {"seeds"}
    assert "over seeds only" in found.notes[0]
    monkeypatch.setattr(groups, "MOST_PAIRED", 2)
    assert grouped(path, "method").pairs == ()


def test_many_runs_have_the_figures_of_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path / "runs.db", [*grid(ratios=(0.3, 0.5)), *grid(("loss",), (0.7,), seeds=1)])
    few = grouped(path, "method")
    monkeypatch.setattr(groups, "MOST_READ", 1)
    many = grouped(path, "method")
    for one, other in zip(few.groups, many.groups, strict=True):
        assert (one.values, one.runs, one.seeds, one.figures) == (other.values, other.runs, other.seeds, other.figures)
        assert one.samples.means == pytest.approx(other.samples.means, abs=0.01), "windows have a wave of their own"
        assert (len(one.samples.blocks) > 0, other.samples.blocks) == (True, ())


def test_unfinished_runs_are_left_out_and_an_unknown_key_has_a_hint(tmp_path: Path) -> None:
    path = stored(tmp_path / "runs.db", grid(("loss",)))
    with Writer(path) as writer:
        writer.create_experiment([NewRun(None, "loss", 9, "seed", config("loss", 9).model_dump_json(), RECORD)])
    assert grouped(path, "method").notes[0].startswith("left out, without a final PPL: 1 ")
    with pytest.raises(UsageError, match=r"figure 'hard_rato'; did you mean exit.hard_ratio\?"):
        grouped(path, "hard_rato")
    with pytest.raises(UsageError, match="no run matches"):
        grouped(path, "method", where="id > 99")
    with pytest.raises(UsageError, match="none of 1 runs has finished"):
        grouped(path, "method", where="seed = 9")


def test_lists_figures_and_columns_group_too(tmp_path: Path) -> None:
    found = grouped(stored(tmp_path / "runs.db", grid(("loss",))), "block_layers", "accuracy", "preset", "full_batches")
    assert [group.values for group in found.groups] == [("2,2", "0.2", "seed", "True")]


def test_every_format_has_every_group_and_pair(tmp_path: Path) -> None:
    found = grouped(stored(tmp_path / "runs.db", grid()), "method", "hard_ratio")
    out = StringIO()
    Console(file=out, width=120).print(as_tables(found))
    for text in (out.getvalue(), as_markdown(found)):
        assert "distill 0.3 − softmax 0.3" in text
        assert "may be noise" in text
    lines = list(csv.DictReader(StringIO(as_csv(found))))
    pairs = [line for line in lines if line["table"] == "pair"]
    assert [(line["hard_ratio"], line["against_method"], line["clear"]) for line in pairs] == [
        ("0.3", "loss", "0"), ("0.3", "softmax", "1"), ("0.3", "softmax", "1"),
    ]  # fmt: skip
    told = json.loads(as_json(found))
    assert told["groups"][0]["values"] == {"method": "distill", "hard_ratio": "0.3"}
    assert told["pairs"][0]["p_holm"] == found.pairs[0].p
    assert told["pairs"][0]["seeds_needed"] == (found.pairs[0].needed and found.pairs[0].needed.seeds)


def test_latex_says_what_each_interval_is_over_where_they_differ(tmp_path: Path) -> None:
    rows = [row for row in grid(("loss", "softmax"), (0.3, 0.5)) if row[1] == 1 or row[2] == 0.3]
    latex = groups_as_latex(grouped(stored(tmp_path / "runs.db", rows), "method", "hard_ratio"))
    pairs = latex.partition("% Pairs: difference in loss, nats\n")[2]
    assert re.search(r"loss 0.3 \$-\$ softmax 0.3 .* & seeds and windows \\\\\n", pairs)
    assert re.search(r"loss 0.5 \$-\$ softmax 0.5 .* & windows \\\\\n", pairs)
    alike = groups_as_latex(grouped(stored(tmp_path / "others.db", grid()), "method"))
    assert "% Pairs: difference in loss, nats, over seeds and windows\n" in alike
    assert "& over" not in alike
