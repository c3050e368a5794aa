"""The number of threads of a run: by cores, load of other processes, and threads that can be started."""

import threading
from collections.abc import Callable

import pytest
import torch

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import RunStarted, Warned
from core.machine import device
from core.machine.cores import Cores
from core.machine.thread_count import LIMITS, choose, computing, needed, possible, startable
from core.protocol import resolve as resolving
from core.protocol.resolve import resolve_all
from core.protocol.train import train

MakeConfig = Callable[..., RunConfig]
PLENTY = 10_000


def test_a_quiet_machine_gives_all_and_nothing_is_said() -> None:
    choice = choose(8, Cores(8, busy=0.4), PLENTY)
    assert (choice.threads, choice.remark) == (8, "")


@pytest.mark.parametrize(
    ("quota", "threads"), [(0.5, 1), (1.0, 1), (1.2, 1), (1.5, 2), (2.0, 2), (7.5, 8), (64.0, 64), (99.0, 64)]
)
def test_a_quota_gives_a_thread_for_each_core_it_grants(quota: float, threads: int) -> None:
    choice = choose(64, Cores(64, quota), PLENTY)
    assert choice.threads == threads
    assert bool(choice.remark) == (threads < 64)


def test_the_remark_on_a_quota() -> None:
    remark = choose(64, Cores(64, 1.5), PLENTY).remark
    assert remark == "2 threads, where there could be 64: the control group grants 1.5 cores"


@pytest.mark.parametrize(
    ("allowed", "busy", "threads"),
    [
        (8, 0.6, 7),
        (8, 2.0, 6),
        (8, 3.0, 5),
        (8, 4.0, 8),  # four of their own, or eight at half speed
        (8, 8.0, 8),
        (3, 1.0, 2),
        (2, 1.0, 2),
        (2, 2.0, 2),
        (1, 1.0, 1),
    ],
)
def test_threads_have_cores_of_their_own_unless_that_is_no_more_than_half(
    allowed: int, busy: float, threads: int
) -> None:
    choice = choose(allowed, Cores(allowed, busy=busy), PLENTY)
    assert choice.threads == threads
    assert f"other processes keep {busy} of {allowed} cores busy" in choice.remark


def test_what_others_do_is_nothing_to_say_where_enough_is_free() -> None:
    choice = choose(32, Cores(64, busy=20.0), PLENTY)  # torch counts cores, the system two threads of each
    assert (choice.threads, choice.remark) == (32, "")
    assert choose(64, Cores(64, 4.0, busy=30.0), PLENTY).threads == 4


def test_no_more_than_can_be_started() -> None:
    choice = choose(64, Cores(64), needed(5))
    assert (choice.threads, choice.remark) == (5, f"5 threads, where there could be 64: {LIMITS}")
    assert choose(64, Cores(64), 0).threads == 1


def test_several_reasons_are_told_together() -> None:
    remark = choose(16, Cores(16, 8.0, busy=10.0), needed(3)).remark
    assert remark == (
        f"3 threads, where there could be 16: the control group grants 8 cores; "
        f"other processes keep 10.0 of 16 cores busy; {LIMITS}"
    )


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_as_many_compute_as_there_are_threads_for(threads: int) -> None:
    assert computing(needed(threads)) == threads
    assert computing(needed(threads) - 1) == max(1, threads - 1)


def no_more_than(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Let the system start only so many threads."""
    start, left = threading.Thread.start, [limit]

    def limited(thread: threading.Thread) -> None:
        if left[0] == 0:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


def test_threads_are_tried_and_all_are_gone_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    assert startable(5) == 5
    no_more_than(monkeypatch, 3)
    assert startable(5) == 3
    assert threading.active_count() == before


def test_one_thread_needs_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    no_more_than(monkeypatch, 0)
    assert (possible(1), possible(4)) == (1, 1)


# The value of `auto`


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it a machine of eight cores, two of them busy."""
    monkeypatch.setattr(resolving, "OWN_THREADS", 8)
    monkeypatch.setattr(resolving, "read_cores", lambda: Cores(8, busy=2.0))
    monkeypatch.setattr(resolving, "startable", lambda most: most)
    for name in resolving.SET_BY_USER:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("eight")
def test_auto_is_what_is_free_and_a_number_is_a_number(tiny_config: MakeConfig) -> None:
    configs, remark = resolve_all([tiny_config(threads=0), tiny_config("softmax", threads=0), tiny_config(threads=3)])
    assert [config.machine.threads for config in configs] == [6, 6, 3]
    assert remark.startswith("6 threads, where there could be 8")


def test_nothing_is_measured_where_every_config_has_its_number(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "choose_threads", lambda: pytest.fail("nobody asked"))
    (config,), remark = resolve_all([tiny_config(threads=2)])
    assert (config.machine.threads, remark) == (2, "")


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_who_sets_the_number_for_torch_gets_it_however_busy_the_machine(
    name: str, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "8")
    (config,), remark = resolve_all([tiny_config(threads=0)])
    assert (config.machine.threads, remark) == (8, "")


# Runs that can't have their threads


def test_a_run_goes_on_with_the_threads_there_are_and_says_so(
    tiny_config: MakeConfig, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "possible", lambda threads: 1)
    started, warned, *_ = train(tiny_config(threads=2), tiny_dataset)
    assert isinstance(started, RunStarted)
    assert warned == Warned(f"1 thread instead of 2: {LIMITS}. Numbers may differ from those of 2 threads by rounding")
    assert torch.get_num_threads() == 1


def test_a_run_that_has_its_threads_says_nothing(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    events = list(train(tiny_config(threads=1), tiny_dataset))
    assert not [event for event in events if isinstance(event, Warned) and LIMITS in event.message]
