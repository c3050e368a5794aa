"""Two processes that resume one run at once: one trains it, the other is refused with exit code 2."""

import signal
from pathlib import Path

from tests.faults.training import ENDLESS, command, ended, epochs, forked, training, wait_until


def test_of_two_that_resume_a_run_one_trains_it(text: Path, environment: dict[str, str], tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    with forked(training(text, *ENDLESS), environment, db) as process:
        wait_until(lambda: epochs(db) > 0)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 143
    resume = command("resume", "1", "--no-ui")
    with forked(resume, environment, db) as one, forked(resume, environment, db) as other:
        wait_until(lambda: one.poll() is not None or other.poll() is not None)
        refused, trains = (one, other) if one.poll() is not None else (other, one)
        code, errors = ended(refused)
        assert code == 2, errors
        assert "only a run that was interrupted or failed can be resumed" in errors or "can't be resumed" in errors
        assert trains.poll() is None
        seen = epochs(db)
        wait_until(lambda: epochs(db) > seen)
        trains.send_signal(signal.SIGTERM)
        assert ended(trains)[0] == 143
