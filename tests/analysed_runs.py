"""Runs as the commands for finished runs look into them."""

from pathlib import Path
from typing import Any

from core.analysis.calibrate_run import Calibrated, calibrate
from core.analysis.calibration_request import CalibrationRequest
from core.analysis.diagnose_run import Diagnosed, diagnose_run
from core.analysis.run_quality import RunQuality, run_quality
from core.store.reader import Reader
from tests.stored_tokens import store_run
from tests.trained_run import train_run


def calibrated(folder: Path, request: CalibrationRequest, **run: float) -> Calibrated:
    """Return the calibration of a run with invented tokens, stored in a folder."""
    number = store_run(folder / "runs.db", **run)
    with Reader(folder / "runs.db") as reader:
        return calibrate(reader, number, request)


def judged(folder: Path, **run: float | str) -> RunQuality:
    """Return the exit quality of a run with invented tokens, stored in a folder."""
    number = store_run(folder / "runs.db", **run)
    with Reader(folder / "runs.db") as reader:
        return run_quality(reader, number)


def diagnosed(path: Path, text: Path, **values: Any) -> Diagnosed:
    """Return the diagnosis of a tiny run, trained on a text."""
    number = train_run(path, text, **values)
    with Reader(path) as reader:
        return diagnose_run(reader, number)
