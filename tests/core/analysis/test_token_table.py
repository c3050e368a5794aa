"""The table of a run's evaluated tokens, compared with plain loops over them."""

import subprocess
import sys
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.analysis.token_table import TokenTable, token_table
from core.events import TokensMeasured
from core.pricing.thresholds import where_left
from core.store.tokens import EvaluationText
from tests.core.analysis.tables import bare_table, left_at_by_hand, random_table


def said(block: int, losses: list[float], signals: list[float], guesses: list[int]) -> TokensMeasured:
    """Return a block's results, with a largest probability of 1/2 for each token."""
    columns = (array("f", losses), array("f", signals), array("f", [0.5] * len(losses)), array("i", guesses))
    return TokensMeasured(block, *(column.tobytes() for column in columns))


def text_of(*token_ids: int) -> EvaluationText:
    return EvaluationText(["a"] * 9, array("i", token_ids))


def without_exits(table: TokenTable) -> TokenTable:
    return replace(table, signal=np.empty((0, table.tokens), np.float32))


def test_what_the_blocks_say_becomes_matrices_and_a_run_may_have_seen_a_prefix_of_the_text() -> None:
    blocks = [said(0, [1, 2, 3], [0.1, 0.2, 0.3], [7, 8, 8]), said(1, [1, 1, 1], [], [1, 2, 8])]
    table = token_table(blocks, text_of(5, 7, 6, 8, 4, 4), 1)
    assert (table.tokens, table.windows, table.blocks, table.exits) == (3, 3, 2, 1)
    assert table.inputs.tolist() == [5, 7, 6]
    assert table.targets.tolist() == [7, 6, 8]
    assert table.cross_entropy.tolist() == [[1, 2, 3], [1, 1, 1]]
    assert table.signal.tolist() == [np.array([0.1, 0.2, 0.3], np.float32).tolist()]
    assert table.max_prob.tolist() == [[0.5] * 3] * 2
    assert table.correct.tolist() == [[True, False, True], [False, False, True]]
    assert table.excess(0).tolist() == [0, 1, 2]
    assert table.mean_loss.tolist() == [2, 1]


def test_blocks_without_signals_have_no_exits() -> None:
    table = token_table([said(0, [1, 2], [], [0, 0]), said(1, [1, 1], [], [0, 0])], text_of(1, 2, 3), 1)
    assert (table.blocks, table.exits, table.signal.shape) == (2, 0, (0, 2))


@pytest.mark.parametrize(("token_ids", "seq_len"), [((1, 3), 1), ((1, 3, 5), 3)])
def test_columns_that_do_not_fit_are_refused(token_ids: tuple[int, ...], seq_len: int) -> None:
    block = said(0, [1, 2], [], [3, 4])
    with pytest.raises(ValueError, match="windows"):
        token_table([block], text_of(*token_ids), seq_len)
    with pytest.raises(ValueError, match="no block"):
        token_table([], text_of(*token_ids), seq_len)


@settings(deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(0, 1000), st.sampled_from([1, 3, 40]))
def test_tokens_leave_where_a_plain_loop_lets_them(data: st.DataObject, blocks: int, seed: int, levels: int) -> None:
    """Some thresholds equal a signal, and some have no exact float32 value."""
    table = random_table(blocks, tokens=24, seed=seed, levels=levels)
    places = st.one_of(
        st.integers(0, levels).map(lambda level: level / levels), st.floats(-0.5, 2.5), st.just(float(np.float32(0.7)))
    )
    thresholds = data.draw(st.lists(places, min_size=blocks - 1, max_size=blocks - 1))
    assert table.left_at(thresholds).tolist() == left_at_by_hand(table, thresholds)


def test_a_signal_that_ties_with_its_threshold_leaves() -> None:
    signal = np.array([[0.5, 0.1, 0.1], [0.9, 0.7, 0.25]], np.float32)
    table = bare_table(np.zeros((3, 3), np.float32), signal, seq_len=3)
    assert table.left_at((0.5, 0.7)).tolist() == [0, 1, 2]  # 0.7 is larger than its float32 value
    assert table.left_at((0.1, 0.7)).tolist() == [0, 0, 0]
    assert table.left_at(np.array([0.1, 0.7])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_without_exits_or_thresholds_all_leave_at_the_last_block(blocks: int) -> None:
    for table in (random_table(blocks), without_exits(random_table(blocks))):
        left_at = table.left_at(())
        assert left_at.tolist() == left_at_by_hand(table, ()) == [blocks - 1] * table.tokens
        assert table.exit_shares(left_at).tolist() == [0.0] * (blocks - 1) + [1.0]


@pytest.mark.parametrize("thresholds", [(0.5,), (0.5, 0.5, 0.5)])
def test_thresholds_are_as_many_as_exits(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="2 exits take as many thresholds"):
        random_table(3).left_at(thresholds)
    with pytest.raises(ValueError, match="0 exits"):
        without_exits(random_table(3)).left_at(thresholds)


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_shares_losses_and_the_oracle_are_those_of_a_loop(blocks: int) -> None:
    table = random_table(blocks)
    table.cross_entropy[:, :50] = table.cross_entropy[0, :50]  # ties: the earliest block counts
    left = left_at_by_hand(table, thresholds := (0.6, 0.4, 0.3)[: blocks - 1])
    assert table.exit_shares(table.left_at(thresholds)).tolist() == [
        left.count(block) / table.tokens for block in range(blocks)
    ]
    losses = [table.cross_entropy[block][token] for token, block in enumerate(left)]
    assert where_left(table.cross_entropy, table.left_at(thresholds)).tolist() == losses
    columns = table.cross_entropy.T.tolist()
    assert table.oracle.tolist() == [column.index(min(column)) for column in columns]
    assert table.mean_loss == pytest.approx([sum(block) / table.tokens for block in zip(*columns, strict=True)])


@pytest.mark.parametrize("make", [random_table, lambda: without_exits(random_table())])
def test_windows_can_be_taken_in_any_order(make: Callable[[], TokenTable]) -> None:
    table = make()
    some = table.of_windows(np.array([3, 1]))
    tokens = [*range(24, 32), *range(8, 16)]
    assert some.windows == 2
    for name in ("cross_entropy", "signal", "max_prob", "prediction", "inputs", "targets"):
        assert getattr(some, name).tolist() == getattr(table, name)[..., tokens].tolist()


LIGHT = ("token_table", "stored_run", "what_if", "exit_quality", "run_quality", "calibrate_run", "diagnose_run")


@pytest.mark.parametrize("module", LIGHT)
def test_analyses_need_neither_torch_nor_the_console(module: str) -> None:
    code = (
        f"import sys, core.analysis.{module}\n"
        "assert not {'torch', 'eetui', 'textual', 'rich', 'transformers', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
