"""Generators that return something: run them for what they yield, and take the result at the end."""

from collections.abc import Generator, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Returning(Generic[Item, Result]):
    """A generator to iterate over once.

    Attributes:
        result: what it returned; there once the iteration has come to its end.
    """

    result: Result

    def __init__(self, work: Generator[Item, None, Result]) -> None:
        self._work = work

    def __iter__(self) -> Iterator[Item]:
        self.result = yield from self._work


def drained(work: Generator[Any, None, Result]) -> Result:
    """Run a generator to its end, whatever it yields, and return what it returns."""
    running = Returning(work)
    for _ in running:
        pass
    return running.result
