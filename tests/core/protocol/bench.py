"""A bench for checkpoints: tiny experiments that a test stops where it wants."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import Event, Step
from core.protocol import train as protocol
from core.protocol.checkpoint import Checkpoint, load_model
from core.protocol.memory import StageMemory
from core.session import run as session
from core.state import Status
from core.store.files import checkpoint_folder
from core.store.new_runs import NewRun
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.training import WORDS

NEVER = ("", 0, 0)
Place = tuple[str, int, int]
"""Stage, epoch and step after which a run stops."""


class Bench:
    """Runs tiny experiments and stops them where a test wants."""

    last: Event | None = None
    """Last event of the training; it is published later."""

    def __init__(self, writer: Writer, reader: Reader, dataset: Dataset) -> None:
        self.writer, self.reader, self.dataset = writer, reader, dataset

    def train(self, *arguments: Any) -> Iterator[Event]:
        """Run the protocol, and remember its last event."""
        for event in protocol.train(*arguments):
            self.last = event
            yield event

    def queue(self, config: RunConfig) -> int:
        new = NewRun(None, config.method, config.seed, None, config.model_dump_json(), {"fingerprint": "fingerprint"})
        return self.writer.create_experiment([new])[0]

    def run(
        self, config: RunConfig, number: int, stop_after: Place = NEVER, memory: StageMemory | None = None
    ) -> tuple[Status, list[Event]]:
        """Run one leg of a run; return its final status and its events."""
        seen: list[Event] = []
        memory = memory or StageMemory()

        def publish(run: int, events: Sequence[Event]) -> None:
            seen.extend(events)

        def stop() -> bool:
            last = self.last
            return isinstance(last, Step) and (last.stage, last.epoch, last.step) == stop_after

        status = session.run(config, self.dataset, memory, number, self.writer, publish, stop)
        return status, seen

    def checkpoint(self, config: RunConfig, number: int) -> Checkpoint:
        created = self.reader.run(number)["created"]
        return Checkpoint.of_run(self.writer.path, number, config, self.dataset.fingerprint, created)

    def weights(self, config: RunConfig, number: int) -> dict[str, Tensor]:
        return load_model(config, WORDS, self.checkpoint(config, number)).state_dict()

    def files(self, number: int) -> set[str]:
        return {path.name for path in checkpoint_folder(self.writer.path, number).glob("*")}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
