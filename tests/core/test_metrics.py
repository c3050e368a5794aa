"""The table of metrics: every row, compared with its events and its column of the store."""

import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from core.events import (
    Epoch,
    Event,
    Measured,
    Priced,
    RunFinished,
    RunStarted,
    Savings,
    StageEnded,
    StageStarted,
    Strided,
    Threshold,
)
from core.metrics import (
    FINAL,
    SHALLOW_TARGET,
    STORED,
    THRESHOLD,
    TRAINING,
    VAL_PPL,
    WAYS,
    ListColumn,
    Metric,
    final_rows,
    run_metrics,
    training_rows,
    way_bits,
    way_ppl,
)
from core.state import RunState, reduce_all
from core.store.codec import encode
from core.store.new_runs import NewRun
from core.store.reader import Query, Reader
from core.store.schema import MIGRATIONS, migrations, savings
from core.store.writer import Writer

CONFIG = {"protocol": "staged", "exit.hard_ratio": 0.5}
LM = Epoch("block0.lm", 2, 2.5, 2.25, None, None, True, 3, 1.0)
FIT = [Epoch("block0.exit", number, 0.5 / number, None, 0.5 / number, 0.125, True, None, 1.0) for number in (1, 2)]
PRICED = Priced("exits.price", "savings", 0.4375, "layers", 0.03125, 0.4375, 0.0078125)
SAVED = Savings("evaluation", -0.25, 0.75, 0.125, 0.0625, 0.1875, 64, 7, covers=True)
EVENTS: list[Event] = [
    RunStarted((), 80, 20, 30, (1, 1), 999, eval_bytes=50),
    StageStarted("block0.lm", "lm", 0, 5, 2, 80, bytes_per_token=4.0, val_bytes_per_token=5.0),
    Epoch("block0.lm", 1, 3.0, 2.75, None, None, True, 3, 1.0),
    LM,
    StageEnded("block0.lm", 2.0),
    Measured("block0.lm", "as trained", 0, "train", "all", 80, 2.0, 0.5, (1.0, 0.0), 0.5),
    Measured("block0.lm", "as trained", 0, "eval", "all", 20, 3.0, 0.25, (1.0, 0.0), 0.5),
    StageStarted("block0.exit", "exit classifier", 0, 2, 2, 80),
    *FIT,
    StageStarted("block0.hard", "hard tokens", 0, 1, 1, 80),
    Threshold("block0.hard", 0, 0.375, 80, 40, (40, 40)),
    StageStarted("evaluation", "evaluation", None, 1, 1, 20),
    PRICED,
    Measured("evaluation", "early exit", None, "eval", "all", 20, 2.0, 0.375, (0.75, 0.25), 0.375),
    Measured("evaluation", "alone", 0, "eval", "all", 20, 3.5, 0.125, (1.0, 0.0), 0.5),
    Measured("evaluation", "all blocks", None, "eval", "all", 20, 1.5, 0.5, (0.0, 1.0), 0.0),
    Measured("evaluation", "oracle", None, "eval", "all", 20, 1.0, 0.625, (0.5, 0.5), 0.25),
    Strided("evaluation", 2, 20, 1.25, 1.75),
    SAVED,
    RunFinished(4.0, 12345),
]
BITS = 20 / (50 * math.log(2))
"""Bits per byte of a nat per token: 20 tokens, 50 bytes."""
EXPECTED = {
    "final_ppl": math.exp(2.0), "bits_per_byte": 2.0 * BITS, "accuracy": 0.375, "shallow_ratio": 0.75,
    "shallow_target": 0.5, "price": 0.03125, "promised_savings": 0.4375, "promised_excess": 0.0078125,
    "layer_savings": 0.375, "flop_savings": -0.25, "time_savings": 0.125,
    "time_savings_low": 0.0625, "time_savings_high": 0.1875, "break_even": 0.75,
    "strided_ppl": math.exp(1.75), "strided_full_ppl": math.exp(1.25),
    "eval.block 0 as trained": math.exp(3.0), "eval.block 0 as trained.bits_per_byte": 3.0 * BITS,
    "eval.block 0 alone": math.exp(3.5), "eval.block 0 alone.bits_per_byte": 3.5 * BITS,
    "eval.all blocks": math.exp(1.5), "eval.all blocks.bits_per_byte": 1.5 * BITS,
    "eval.oracle": math.exp(1.0), "eval.oracle.bits_per_byte": 1.0 * BITS,
    "block0.val_ppl": math.exp(2.25), "block0.val_bits_per_byte": 2.25 / 5 / math.log(2),
    "block0.train_ppl": math.exp(2.5), "block0.train_bits_per_byte": 2.5 / 4 / math.log(2),
    "block0.best_epoch": 2, "block0.epochs": 2,
    "block0.exit_loss_first": 0.5, "block0.exit_loss_last": 0.25, "block0.avg_label": 0.125,
    "block0.threshold": 0.375, "block0.hard_tokens": 40,
}  # fmt: skip
STATE = reduce_all(RunState(), EVENTS)


def after(*events: Event) -> RunState:
    return reduce_all(RunState(), events)


def test_every_metric_of_a_run_follows_from_its_events_in_the_order_of_the_tables() -> None:
    found = run_metrics(STATE, CONFIG)
    assert {metric.key: value for metric, value in found.items()} == pytest.approx(EXPECTED)
    assert [metric.key for metric in found] == list(EXPECTED)
    assert [*final_rows(found), *training_rows(found)] == list(found)


def test_the_sample_has_a_figure_for_every_row() -> None:
    found = run_metrics(STATE, CONFIG)
    assert {*FINAL, *(row.at(0) for row in TRAINING)} <= set(found)
    assert {metric.way for metric in found if metric.way} == set(WAYS)


def test_a_run_that_has_not_started_has_no_figures() -> None:
    assert run_metrics(RunState(), CONFIG) == {}


@pytest.mark.parametrize("one", [*FINAL, *(row.at(block) for block in (None, 0, 1) for row in TRAINING)])
def test_keys_labels_columns_and_words_are_of_one_metric_only(one: Metric) -> None:
    every = [
        *FINAL,
        *(kind(way) for way in WAYS for kind in (way_ppl, way_bits)),
        *(row.at(block) for block in (None, 0, 1) for row in TRAINING),
    ]
    others = [metric for metric in every if metric != one]
    assert one.key not in {metric.key for metric in others}
    assert one.label not in {metric.label for metric in others}
    if one.list_column is not None:
        columns = [metric.list_column for metric in others if metric.list_column is not None]
        assert one.list_column.name not in {column.name for column in columns}
        assert one.list_column.word not in {column.word for column in columns}


@pytest.mark.parametrize(("column", "metric"), STORED)
def test_what_lists_show_is_stored_and_sorts_them(
    column: ListColumn, metric: Metric, writer: Writer, reader: Reader
) -> None:
    empty, whole = writer.create_experiment([NewRun(None, "loss", seed, None, "{}", {}) for seed in (1, 2)])
    writer.append(whole, EVENTS, STATE)
    rows = reader.runs(Query(order_by=column.name))
    assert [row["id"] for row in rows] == [whole, empty]
    assert rows[0][column.name] == pytest.approx(EXPECTED[metric.key])
    assert bool(column.head) == all(column.heads) == any(column.heads)
    assert column.head or not column.essential


def test_a_full_depth_run_has_no_target() -> None:
    full = {"protocol": "full_depth", "exit.hard_ratio": 0.5}
    assert SHALLOW_TARGET not in run_metrics(replace(STATE, priced=None), full)
    assert SHALLOW_TARGET.value(replace(STATE, priced=None), full) is None


def test_the_target_counts_every_exit() -> None:
    three = Measured("evaluation", "early exit", None, "eval", "all", 20, 2.0, 0.5, (0.5, 0.25, 0.25), 0.5)
    assert run_metrics(after(three), CONFIG)[SHALLOW_TARGET] == 0.75


def test_a_run_s_savings_come_from_its_event_and_what_was_not_measured_is_left_out() -> None:
    saved = Savings("evaluation", -0.1, None, 0.05, 0.01, 0.07, 8192, 5)
    found = run_metrics(after(saved), CONFIG)
    assert {metric.key: value for metric, value in found.items()} == {"flop_savings": -0.1, "time_savings": 0.05}


def test_of_an_exit_that_is_set_twice_the_last_threshold_counts() -> None:
    first, second = (
        [StageStarted(name, "hard tokens", 0, 1, 1, 80), Threshold(name, 0, threshold, 80, 40, (80,))]
        for name, threshold in (("block0.hard", 0.25), ("block0.threshold", 0.5))
    )
    assert run_metrics(after(*first, *second), CONFIG)[THRESHOLD.at(0)] == 0.5


def test_blocks_trained_together_come_first_and_ppls_of_own_hard_tokens_are_not_ranked() -> None:
    rows = training_rows({VAL_PPL.at(block) for block in (1, None, 0)})
    assert [row.label for row in rows] == [
        "All blocks together: early-stop PPL", "Block 0 early-stop PPL", "Block 1 early-stop PPL (own hard tokens)",
    ]  # fmt: skip
    assert [row.better for row in rows] == ["lower", "lower", None]
    assert [row.own_tokens for row in rows] == [False, False, True]
    assert not THRESHOLD.at(1).own_tokens


def test_readouts_of_a_pretrained_model_learn_from_the_same_tokens_so_their_ppls_are_ranked() -> None:
    later = [replace(event, block=1) if hasattr(event, "block") else event for event in EVENTS[1:]]
    found = run_metrics(after(EVENTS[0], *later), {**CONFIG, "protocol": "frozen"})
    (row,) = (row for row in training_rows(found) if row.key == VAL_PPL.at(1).key)
    assert (row.label, row.better, row.own_tokens) == ("Block 1 early-stop PPL", "lower", False)


def test_savings_of_older_databases_are_taken_from_their_logs(path: Path) -> None:
    connection = sqlite3.connect(path)
    migrations().apply(Database(connection), stop_before="savings")
    rows = [(1, "done", 7.4), (2, "started again", None)]
    connection.executemany(
        "INSERT INTO runs (id, experiment, name, method, seed, status, config, record, created, final_ppl) "
        "VALUES (?, 1, ?, 'loss', 1, 'finished', '{}', '{}', 0, ?)",
        rows,
    )
    ((kind, data),) = encode([SAVED])
    for run, *_ in rows:
        connection.execute("INSERT INTO events VALUES (?, 1, 0, ?, ?)", [run, kind, data])
    connection.commit()
    connection.execute(f"PRAGMA user_version = {MIGRATIONS.index(savings)}")
    connection.close()
    with Reader(path) as reader:
        assert [row["flop_savings"] for row in reader.runs()] == [SAVED.flops, None]
        assert [row["time_savings"] for row in reader.runs()] == [SAVED.time, None]
