"""An estimator that measures nothing and always gives the same answer."""

import threading
from collections.abc import Callable, Sequence

from core.config.run_config import RunConfig
from core.estimate.estimate import Estimate
from core.estimate.workload import Span

ESTIMATE = Estimate(
    3, 65_536, 12_288, 4096, 787_074, Span(3, 5), Span(4e5, 7e5), Span(1e12, 2e12), Span(20, 60), 5 * 10**8, "cpu",
    speed=13_000.0,
)  # fmt: skip


class FakeEstimating:
    """Replaces `Estimator` and records its requests; it answers once `go_on` is set."""

    def __init__(self) -> None:
        self.asked: list[RunConfig] = []
        self.answered: list[int] = []
        self.problem: Exception | None = None
        self.closed = False
        self.go_on = threading.Event()
        self.go_on.set()

    def estimate(
        self, config: RunConfig, methods: Sequence[str], seeds: int, should_stop: Callable[[], bool]
    ) -> Estimate | None:
        self.asked.append(config)
        if self.problem:
            raise self.problem
        while not self.go_on.wait(0.01):
            if should_stop():
                return None
        self.answered.append(len(methods) * seeds)
        return ESTIMATE

    def close(self) -> None:
        self.closed = True
