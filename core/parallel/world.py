"""The processes that train one run together, data parallel.

All carry out the same stages on the same data, and take the same decisions. In training each takes its part of every
batch, and their gradients are added up: losses are sums over tokens, so the sum of the parts' gradients is the whole
batch's. The first process alone stores, evaluates and speaks.

Every exchange begins with a meeting, in which each process says how it is. One that stops or fails leaves with a last
meeting, which the others have with it wherever they meet next; so no process waits for one that is gone.
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from core.errors import ConfigError, LostProcessError, PartedError, StoppedError
from core.parallel.launch import Launch

Value = TypeVar("Value")
VALUES = 6
"""Largest number of values that are added up in a meeting."""
JOINING = datetime.timedelta(minutes=5)
"""How long a process waits for the others to join."""
PATIENCE = datetime.timedelta(days=30)
"""How long a process waits for another: the first one evaluates alone, and may wait for a disk."""


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that a process takes.

    Attributes:
        total: rows of the whole batch.
        own: its own; one at least, also where there are fewer rows than processes.
        weight: 1; 0 where its row is another process's too, and must not count.
    """

    total: int
    own: slice
    weight: int = 1


class World:
    """A process alone; the base of `Together`."""

    rank, size = 0, 1

    @property
    def leads(self) -> bool:
        """Whether it is the first process."""
        return self.rank == 0

    def rows(self, count: int) -> Rows:
        """Return this process's part of so many rows: consecutive ones."""
        start, stop = (count * number // self.size for number in (self.rank, self.rank + 1))
        return Rows(count, slice(start, stop)) if start < stop else Rows(count, slice(0, 1), 0)

    def part(self, windows: Tensor) -> Tensor:
        """Return this process's part of some windows, which may be empty, `[N]` to `[n]`."""
        return windows.tensor_split(self.size)[self.rank]

    def total(self, values: Sequence[float]) -> list[float]:
        """Add up each value over all processes."""
        return list(values)

    def add_up(self, weights: Iterable[Tensor], *, some_lack: bool = False) -> None:
        """Add up the gradients of weights over all processes, in place; call `total` before.

        Args:
            some_lack: whether a weight may have a gradient in some of the processes only.
        """

    def share(self, value: Value) -> Value:
        """Return the first process's value in all of them."""
        return value

    def require_same(self, text: str) -> None:
        """Check that all processes come here with the same text, so that they do the same from here on.

        Raises:
            PartedError: they do not.
        """

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process carry out the block before the others do."""
        yield


class Together(World):
    """One of several processes."""

    def __init__(self, launch: Launch) -> None:
        """Join the others.

        Raises:
            LostProcessError: they can't be reached.
        """
        self.rank, self.size = launch.rank, launch.size
        with self._reaching():
            dist.init_process_group("gloo", rank=launch.rank, world_size=launch.size, timeout=JOINING)
            self._group: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._fast: Any = None

    def meet(self, values: Sequence[float] = (), *, stopped: bool = False, failed: str = "") -> list[float]:
        """Meet all others; return the sum of each value.

        Args:
            stopped: whether this process stops.
            failed: why it has failed.

        Raises:
            PartedError: one has failed.
            StoppedError: one stops.
            LostProcessError: one is gone.
        """
        header = torch.tensor([stopped, bool(failed), *values], dtype=torch.float64)  # the same for all, whatever it is
        header = torch.cat((header, header.new_zeros(2 + VALUES - len(header))))
        with self._reaching():
            dist.all_reduce(header, group=self._group)
            if header[1]:
                said = self._gathered(failed)
                raise PartedError(next(f"process {rank}: {text}" for rank, text in enumerate(said) if text))
        if header[0]:
            raise StoppedError("one of the run's processes was stopped")
        return header[2 : 2 + len(values)].tolist()

    def leave(self, *, stopped: bool = False, failed: str = "") -> None:
        """Part from the others at the end of a run, however it ended."""
        with suppress(PartedError, StoppedError, LostProcessError):
            self.meet(stopped=stopped, failed=failed)

    def total(self, values: Sequence[float]) -> list[float]:
        return self.meet(values)

    def add_up(self, weights: Iterable[Tensor], *, some_lack: bool = False) -> None:
        those = list(weights)
        with self._reaching():
            if some_lack:
                having = torch.tensor([weight.grad is not None for weight in those], dtype=torch.int32)
                dist.all_reduce(having, group=self._group)
                those = [weight for weight, count in zip(those, having.tolist(), strict=True) if count]
            for weight in those:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            gradients = [weight.grad for weight in those if weight.grad is not None]
            if gradients:
                flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
                self._sum(flat)
                for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                    gradient.copy_(summed.view_as(gradient))

    def share(self, value: Value) -> Value:
        self.meet()
        return self._sent(value)

    def require_same(self, text: str) -> None:
        self.meet()
        with self._reaching():
            said = self._gathered(text)
        if len(set(said)) > 1:
            other = next(number for number, words in enumerate(said) if words != said[0])
            raise PartedError(
                f"the processes do not do the same: process 0 has {said[0]}, process {other} has {said[other]}; they "
                f"need the same versions and the same kind of processor"
            )

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        if not self.leads:
            self.meet()
        yield
        if self.leads:
            self.meet()

    def send(self, value: object) -> None:
        """Send a value to the others, which wait in `receive`."""
        self._sent(value)

    def dismiss(self) -> None:
        """Let the others, which wait in `receive`, end."""
        with suppress(LostProcessError):
            self._sent(None)

    def receive(self) -> Any:
        """Wait for the first process's next value; None once there is no more."""
        return self._sent(None)

    def _sent(self, value: Value) -> Value:
        held: list[Any] = [value if self.leads else None]
        with self._reaching():
            dist.broadcast_object_list(held, group=self._group)
        found: Value = held[0]
        return found

    def _gathered(self, text: str) -> list[str]:
        said: list[Any] = [None] * self.size
        dist.all_gather_object(said, text, group=self._group)
        return said

    def _sum(self, flat: Tensor) -> None:
        """Add up a tensor over all processes, in place: NCCL for GPUs, gloo for all else."""
        if flat.device.type != "cuda":
            dist.all_reduce(flat, group=self._group)
            return
        if self._fast is None:
            self._fast = dist.new_group(backend="nccl")
        dist.all_reduce(flat, group=self._fast)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:  # gloo's and the store's
            reason = " ".join(str(error).split())
            raise LostProcessError(
                f"a process of the run is gone, or can't be reached ({type(error).__name__}: {reason:.120}): "
                f"eetui resume goes on from the last checkpoint"
            ) from error


_alone = World()
_here: World = _alone


def world() -> World:
    """Return the processes of this run; a world of one where there is no other."""
    return _here


@contextmanager
def joined(launch: Launch) -> Iterator[Together]:
    """Train together with the others of a launch while the block runs.

    Raises:
        LostProcessError: they can't be reached.
    """
    global _here
    if launch.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launch.local_rank)
    together = Together(launch)
    _here = together
    try:
        yield together
    finally:
        _here = _alone
        with suppress(RuntimeError):  # the others may be gone
            dist.destroy_process_group()


def require_devices(device: str, launch: Launch | None) -> None:
    """Check that each process has a device of its own, where it needs one; `device` is resolved.

    Raises:
        ConfigError: it has not.
    """
    if launch is None or device == "cpu":
        return
    count = torch.cuda.device_count()
    if device != "cuda":
        raise ConfigError(f"machine.device {device} is one device, and {launch.size} processes train: take cuda or cpu")
    if launch.local_size > count:
        raise ConfigError(f"{launch.local_size} processes train on this machine, which has {count} GPUs: start as many")
