"""A reading of a machine that is always the same: four cores, a GPU that is shared, a disk that runs short."""

from collections.abc import Sequence
from pathlib import Path

from core.machine.disks import Disk
from core.machine.gpus import Gpu, OnGpu
from core.machine.reading import ProcessUse, Reading

GIB = 2**30
OWN, TRAINER, STRANGER, HIDDEN = 4711, 4712, 99, 7
GPU = Gpu(0, "NVIDIA H100 80GB HBM3", 0.87, 31 * GIB, 80 * GIB, (
    OnGpu(TRAINER, 22 * GIB, 0.8), OnGpu(STRANGER, 8 * GIB, 0.07), OnGpu(HIDDEN, None, None),
))  # fmt: skip
READING = Reading(
    cores=4,
    quota=2.0,
    busy=((0, 1.0), (1, 0.5), (2, 0.25), (3, 0.0)),
    load=2.5,
    memory=16 * GIB,
    available=GIB,
    left=GIB // 2,
    peak=GIB // 4,
    processes=(
        ProcessUse(OWN, "eetui", 0.03, 100 * 2**20),
        ProcessUse(TRAINER, "eetui", 1.5, 3 * GIB),
        ProcessUse(STRANGER, "blender", 0.2, 5 * GIB),
    ),
    gpus=(GPU,),
)
SILENT = Reading(cores=8, load=1.5, memory=16 * GIB, peak=GIB // 4, processes=(ProcessUse(OWN, cores=0.5),),
                 no_gpu="what a GPU does is not told here")  # fmt: skip
"""What a system tells that is not Linux."""


class FakeMeter:
    """A meter that always reads the same, and counts how often."""

    def __init__(self, reading: Reading = READING) -> None:
        self.reading, self.taken = reading, 0
        self.pids: Sequence[int] = ()

    def read(self, pids: Sequence[int], folders: Sequence[Path]) -> Reading:
        self.taken, self.pids = self.taken + 1, pids
        return Reading(**{**vars(self.reading), "disks": disks(folders)})


def disks(folders: Sequence[Path]) -> tuple[Disk, ...]:
    """Return a disk for each folder; the last one has little room."""
    return tuple(
        Disk(folder, GIB // 2 if folder == folders[-1] else 120 * GIB, 200 * GIB, kind="ext4") for folder in folders
    )
