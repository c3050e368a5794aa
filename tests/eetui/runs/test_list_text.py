"""The list of runs as lines of text."""

from typing import Any

from rich.cells import cell_len

from core.store.liveness import GONE
from eetui.runs.list_text import runs_lines


def run(number: int = 1, name: str = "loss-1", status: str = "finished", **more: Any) -> dict[str, Any]:
    figures = dict.fromkeys(
        ("error", "block0_val_ppl", "bits_per_byte", "accuracy", "shallow_ratio", "layer_savings", "seconds", "tags")
    )
    return (
        {"id": number, "name": name, "method": "loss", "seed": 42, "status": status, "final_ppl": 71.5} | figures | more
    )


def lines(*rows: dict[str, Any], width: int = 200, colour: bool = False) -> list[str]:
    return list(runs_lines(rows, width, colour=colour))


def test_columns_line_up_under_their_heads_and_what_is_missing_is_a_dash() -> None:
    head, rule, first, second = lines(run(), run(1000, "a-longer-name", "failed", final_ppl=None, accuracy=0.25))
    assert len(rule) == len(head)
    assert head.index("Name") == first.index("loss-1") == second.index("a-longer-name")
    end = head.index("Final eval PPL") + len("Final eval PPL")
    assert (first[:end].split()[-1], second[:end].split()[-1]) == ("71.50", "–")
    assert "25.00%" in second
    assert "✗ failed" in second


def test_a_narrow_terminal_gets_the_essential_columns_and_its_width_is_kept() -> None:
    shown = lines(run(name="x" * 100), run(2, "short"), width=80)
    assert "Accuracy" in shown[0]
    assert "Seed" not in shown[0]
    assert max(map(len, shown)) <= 80
    assert sum(line.count("x") for line in shown) == 100, "a name that does not fit goes on in the next line"
    assert shown[-1].split()[1] == "short"


def test_wide_characters_count_as_two_columns() -> None:
    shown = lines(run(name="早期退出"), run(2, "plain", "running"))[2:]
    places = [cell_len(line[: line.index(sign)]) for line, sign in zip(shown, "✓▶", strict=True)]
    assert places[0] == places[1]
    folded = lines(run(name="早期退出" * 20), width=80)[2:]
    assert sum(line.count("早") for line in folded) == 20
    assert max(map(cell_len, folded)) <= 80


def test_colour_is_of_the_head_and_the_status_only() -> None:
    plain, coloured = lines(run(tags="tiny")), lines(run(tags="tiny"), colour=True)
    assert coloured[0] == f"\x1b[1m{plain[0]}\x1b[0m"
    assert "\x1b[32m✓ finished\x1b[0m" in coloured[2]
    assert coloured[2].replace("\x1b[32m", "").replace("\x1b[0m", "") == plain[2]


def test_a_run_whose_process_is_gone_says_so_where_there_is_room() -> None:
    gone, stopped = run(status="interrupted", error=GONE), run(2, status="interrupted", error="stopped by the user")
    shown = lines(gone, stopped)[2:]
    assert ["(its process is gone)" in line for line in shown] == [True, False]
    assert "\x1b[33m■ interrupted (its process is gone)\x1b[0m" in lines(gone, colour=True)[2]
    assert max(map(len, lines(gone, width=80))) <= 80


def test_no_runs_are_said_to_be_none() -> None:
    assert lines() == ["no runs"]
