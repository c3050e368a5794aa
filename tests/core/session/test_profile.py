"""Profiled experiments: what is stored of them, and what is nobody's time."""

import pytest

from core.machine import clock as profile
from core.machine.clock import PAUSED, UNPROFILED
from core.session import run as session
from core.session.plan import Plan
from core.session.prepare import Prepared, prepare, prepare_resume
from core.session.run import run_experiment
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.session.listeners import ignore
from tests.core.training import MakeConfig


@pytest.fixture
def prepared(writer: Writer, corpus: str, tiny_config: MakeConfig) -> Prepared:
    configs = tuple(tiny_config(method, corpus=corpus, max_epochs=2) for method in ("loss", "softmax"))
    return prepare(Plan(configs, (None, None), profile=True), writer)


def test_the_profile_is_stored_with_its_runs_and_what_storing_takes_is_in_it(
    writer: Writer, reader: Reader, prepared: Prepared
) -> None:
    assert run_experiment(prepared, writer, ignore) == ["finished", "finished"]
    for run in prepared.runs:
        state = reader.state(run)
        assert all(stage.profile is not None for stage in state.stages)
        assert all("events" in stage.profile.parts for stage in state.stages if stage.profile)
        assert all(PAUSED not in stage.profile.parts for stage in state.stages if stage.profile)
        assert reader.run(run)["record"]["profile"] is True


def test_time_spent_paused_is_nobodys(
    writer: Writer, reader: Reader, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, held_for = profile.time.perf_counter, [0.0]
    monkeypatch.setattr(profile.time, "perf_counter", lambda: real() + held_for[0])

    def held() -> bool:
        held_for[0] += 1000.0
        return False

    run_experiment(prepared, writer, ignore, held)
    (stage, *_) = reader.state(1).stages
    assert stage.profile is not None
    assert stage.seconds is not None
    assert stage.profile.seconds < 1000.0 < stage.seconds


def test_a_resumed_run_is_profiled_if_it_was(writer: Writer, reader: Reader, prepared: Prepared) -> None:
    asked = iter(range(10**9))
    run_experiment(prepared, writer, ignore, lambda: next(asked) >= 40)
    resumed = prepare_resume(prepared.runs, writer)
    assert resumed.profile
    assert run_experiment(resumed, writer, ignore) == ["finished", "finished"]
    assert all(stage.profile is not None for stage in reader.state(1).stages)


def test_without_the_request_nothing_is_timed(
    writer: Writer, reader: Reader, corpus: str, tiny_config: MakeConfig
) -> None:
    plain = prepare(Plan((tiny_config(corpus=corpus, max_epochs=1),), (None,)), writer)
    assert not plain.profile
    run_experiment(plain, writer, ignore)
    assert all(stage.profile is None for stage in reader.state(1).stages)
    assert session.new_clock(plain.configs[0], profile=False) is UNPROFILED
