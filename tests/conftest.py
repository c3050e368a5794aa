"""Every test is hermetic: one thread, its own cache folder, and none of the user's settings."""

import os
from pathlib import Path

import pytest
import torch

from core.machine import device as machine

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EETUI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EETUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "PEAK_SECONDS", 0.0)
