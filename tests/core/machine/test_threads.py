"""Tasks side by side on the CPU."""

import threading
from collections.abc import Iterator

import pytest
import torch

from core.machine.threads import shares, side_by_side


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("count", "parts"), [(0, 1), (1, 1), (199, 1), (200, 2), (399, 3), (400, 4), (9999, 4)])
def test_shares_cover_everything_once_and_none_is_too_small(count: int, parts: int) -> None:
    found = shares(count, 100)
    assert [number for share in found for number in range(count)[share]] == list(range(count))
    assert len(found) == parts
    assert min(share.stop - share.start for share in found) >= min(count, 100)


@pytest.mark.usefixtures("threads")
def test_tasks_run_at_once_each_on_its_part_of_the_threads_and_answer_in_order() -> None:
    meeting = threading.Barrier(2, timeout=20)

    def task(number: int) -> tuple[int, int, bool]:
        meeting.wait()
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    assert side_by_side([lambda: task(0), lambda: task(1)]) == [(0, 2, False), (1, 2, False)]
    assert torch.get_num_threads() == 4
    assert torch.is_grad_enabled()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("failing", [0, 1])
def test_a_task_that_fails_is_heard_when_the_others_are_through(failing: int) -> None:
    finished = list[int]()

    def task(number: int) -> None:
        if number == failing:
            raise ValueError("no")
        finished.append(number)

    with pytest.raises(ValueError, match="no"):
        side_by_side([lambda: task(0), lambda: task(1)])
    assert finished == [1 - failing]
    assert torch.get_num_threads() == 4


def test_one_task_is_the_callers_own() -> None:
    assert side_by_side([threading.current_thread]) == [threading.current_thread()]
