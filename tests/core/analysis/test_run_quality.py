"""Exit quality of a stored run."""

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from core.analysis.run_quality import run_quality
from core.config.run_config import method_names
from core.errors import RunLookupError, UsageError
from core.exits import exit_method
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from tests.analysed_runs import judged
from tests.stored_tokens import store_run


def test_a_stored_run_is_judged_with_its_own_thresholds_and_costs(tmp_path: Path) -> None:
    found = judged(tmp_path, blocks=3)
    assert len(found.quality.exits) == 2
    assert found.quality.as_run == pytest.approx(np.array([0.5, 0.25, 0.25]), abs=0.02)
    assert found.quality.exits[0].claims == "p(target)"
    assert found.quality.exits[0].last_no_better.auroc == pytest.approx(0.64, abs=0.02)
    assert found.quality.layers.area > 0
    assert found.quality.savings.static_flops[0] > found.quality.savings.flops[0]


def test_a_signal_that_reads_the_head_pays_for_it(tmp_path: Path) -> None:
    never = [judged(tmp_path, method=method).quality.flops.savings[0] for method in ("loss", "softmax")]
    assert never[1] < never[0] < 0


@pytest.mark.parametrize("method", method_names())
def test_a_signal_is_judged_as_what_its_method_claims(method: str, tmp_path: Path) -> None:
    assert judged(tmp_path, method=method).quality.exits[0].claims == exit_method(method).claims


def test_a_run_without_statistics_or_exits_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Writer(path) as writer:
        record = {"fingerprint": "none", "vocab_size": 4}
        (queued,) = writer.create_experiment([NewRun("waits", "loss", 1, None, "{}", record)])
    with Reader(path) as reader:
        with pytest.raises(UsageError, match=r"waits keeps no statistics of its tokens \(queued\)"):
            run_quality(reader, queued)
        with pytest.raises(RunLookupError):
            run_quality(reader, 99)
    with pytest.raises(UsageError, match="one block only"):
        judged(tmp_path, blocks=1)


def test_a_run_that_was_trained_without_exits_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = store_run(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE token_statistics SET signal = ?", (zlib.compress(b""),))
    connection.close()
    with Reader(path) as reader, pytest.raises(UsageError, match="trained without exits"):
        run_quality(reader, run)
