"""Generators that return something."""

from collections.abc import Generator

import pytest

from core.generators import Returning, drained


def counted(*, to: int) -> Generator[int, None, str]:
    yield from range(to)
    return f"counted to {to}"


@pytest.mark.parametrize("to", [0, 3])
def test_what_a_generator_yields_and_what_it_returns(to: int) -> None:
    running = Returning(counted(to=to))
    assert list(running) == list(range(to))
    assert running.result == drained(counted(to=to)) == f"counted to {to}"


def test_who_stops_early_closes_the_generator_and_gets_no_result() -> None:
    closed = []

    def watched() -> Generator[int, None, None]:
        try:
            yield from (1, 2, 3)
        finally:
            closed.append(True)

    running = Returning(watched())
    for _ in running:
        break
    assert closed == [True]
    assert not hasattr(running, "result")
