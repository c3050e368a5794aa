"""Imported runs: exits set on one part of the file, all ways measured on the other, as any run is read."""

from pathlib import Path

import numpy as np
import pytest

from core.analysis.calibrate_run import calibrate
from core.analysis.calibration_request import CalibrationRequest
from core.analysis.diagnose_run import diagnose_run
from core.analysis.run_quality import run_quality
from core.analysis.stored_run import evaluated_tokens, stored_run
from core.analysis.text_generator import open_generator
from core.errors import ConfigError, StoreError, UsageError
from core.importing.run import Imported, import_file
from core.importing.settings import Aim
from core.session.prepare import prepare_resume
from core.store.reader import Reader
from core.store.writer import Writer

WINDOWS, SEQ_LEN, EXITS = 60, 16, 3
COSTS = [2.0, 4.0, 5.0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three exits; what the first ones lose falls with their signal."""
    draw = np.random.default_rng(1)
    shape = (EXITS, WINDOWS, SEQ_LEN)
    targets, signal = draw.integers(0, 5, shape[1:]), draw.random((EXITS - 1, *shape[1:]))
    loss = np.full(shape, 1.0)
    loss[:-1] += np.array([0.8, 0.4])[:, None, None] * (1 - signal)
    right = draw.random(shape) < 0.4
    max_prob = np.where(right, np.exp(-loss), 0.6)
    prediction = np.where(right, targets, (targets + 1) % 5)
    path = tmp_path / "ours.npz"
    arrays = {"loss": loss, "signal": signal, "max_prob": max_prob, "prediction": prediction, "targets": targets}
    np.savez(path, costs=COSTS, layers=[2, 2, 1], vocabulary=np.array(list("abcde")), **arrays)
    return path


def imported(db: Path, file: Path, aim: Aim | None = None, name: str | None = None) -> Imported:
    with Writer(db) as store:
        return import_file(file, store, name=name, aim=aim or Aim())


def test_it_is_read_as_any_run_is(file: Path, tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    done = imported(db, file, Aim(savings=0.3))
    assert (done.name, done.tokens, done.calibration_tokens) == ("ours", 48 * SEQ_LEN, 12 * SEQ_LEN)
    with Reader(db) as reader:
        run = stored_run(reader, done.number)
        table, text = evaluated_tokens(reader, run)
        assert (run.status, run.config.method_name, run.method.claims) == ("finished", "signal", "rank")
        assert text.vocabulary == list("abcde")
        final, left = run.state.final, table.left_at(run.thresholds)
        assert final is not None
        assert run.state.savings is not None
        assert final.exit_shares == pytest.approx(tuple(table.exit_shares(left)))
        assert final.loss == pytest.approx(float(table.cross_entropy[left, np.arange(table.tokens)].mean()))
        shares = np.array(final.exit_shares)
        assert run.state.savings.flops == pytest.approx(1 - shares @ np.array(COSTS) / COSTS[-1])
        assert run.state.savings.flops == pytest.approx(0.3, abs=0.05)
        assert final.layer_savings == pytest.approx(1 - shares @ np.array([2, 4, 5]) / 5)
        judged = run_quality(reader, done.number).quality
        assert judged.savings.static_flops == pytest.approx((0.6, 0.2, 0.0))
        assert calibrate(reader, done.number, CalibrationRequest(max_ppl_increase=0.5)).choice.thresholds
        found = diagnose_run(reader, done.number)
        assert [step.name for step in found.diagnosis.waterfall.steps][-1] == "exit decisions"
        assert "imported" in found.not_measured


def test_what_needs_the_model_says_that_it_is_not_here(file: Path, tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    number = imported(db, file).number
    with Reader(db) as reader, pytest.raises(UsageError, match=r"ours \(run 1\) can't write text: .* imported"):
        open_generator(reader, number)
    with Writer(db) as store, pytest.raises(UsageError, match=r"can't be resumed: its numbers were imported"):
        prepare_resume([number], store)


def test_thresholds_of_the_file_are_the_run_s_on_all_its_windows(file: Path, tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    with np.load(file) as there:
        np.savez(file, thresholds=[0.9, 2.0], **there)
    done = imported(db, file)
    assert (done.tokens, done.calibration_tokens) == (WINDOWS * SEQ_LEN, 0)
    with Reader(db) as reader:
        assert stored_run(reader, done.number).thresholds == (0.9, 2.0)
        with pytest.raises(UsageError, match="eetui import --calibration 20%"):
            diagnose_run(reader, done.number)
    with pytest.raises(UsageError, match=r"the file has thresholds.* or --savings"):
        imported(db, file, Aim(savings=0.1), "other")


@pytest.mark.parametrize(
    ("aim", "error", "message"),
    [
        (Aim(savings=0.9), ConfigError, "exit.savings must be at most 0.6"),
        (Aim(savings=0.1, price=1.0), UsageError, "got --savings and --price: leave all but one out"),
        (Aim(calibration=1.5), UsageError, "--calibration must be a share"),
        (Aim(exit_rate=1.0), UsageError, "--exit-rate must be a share above 0% and below 100%, got 1"),
        (Aim(savings=1.0), UsageError, "--savings must be a share from 0% to below 100%, got 1"),
        (Aim(exit_rate=0.5, cost="layers"), UsageError, "here no price sets the exits"),
    ],
)
def test_an_aim_that_can_not_be_had_stores_nothing(
    file: Path, tmp_path: Path, aim: Aim, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        imported(tmp_path / "runs.db", file, aim)
    with Reader(tmp_path / "runs.db") as reader:
        assert reader.count() == 0


def test_a_taken_name_stores_nothing(file: Path, tmp_path: Path) -> None:
    imported(tmp_path / "runs.db", file)
    with pytest.raises(StoreError, match="'ours' is taken by run 1: choose another with --name"):
        imported(tmp_path / "runs.db", file)


def test_a_file_whose_name_no_run_can_have_says_what_to_do(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file's name, which --name replaces, must not be a number"):
        imported(tmp_path / "runs.db", file.rename(tmp_path / "2026.npz"))


def test_runs_on_the_same_text_share_it(file: Path, tmp_path: Path) -> None:
    first, second = (imported(tmp_path / "runs.db", file, Aim(exit_rate=rate), f"at-{rate}") for rate in (0.2, 0.5))
    with Reader(tmp_path / "runs.db") as reader:
        prints = {reader.run(run.number)["record"]["fingerprint"] for run in (first, second)}
    assert len(prints) == 1
