"""Fixtures that keep every test hermetic: one thread, its own cache folder, and none of the user's settings.

`eetui` runs the command line as a user does: in a process of its own (`tests.forked`), with a text and a database of
the test.
"""

import gc
import inspect
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation import timing
from core.machine import device as machine
from tests.forked import run_forked

Eetui = Callable[..., subprocess.CompletedProcess[str]]
TINY = ("num_samples=120", "seq_len=4", "batch_size=4", "dim=8", "num_heads=2", "ffn_dim=16", "block_layers=1,1")
TINY_TRAINING = ("max_epochs=2", "exit_epochs=2", "machine.threads=1")

OF_PYTHON = ("PYTHON", "LC_", "LANG", "OMP_")
"""Variables that are read when Python or torch start."""

CASES = 2
"""Cases of each test outside `make soak`, where cases take long."""
LONG = (
    "tests/faults/",
    "tests/core/analysis/",
    "tests/core/backbones/",
    "tests/core/early_exit/",
    "tests/core/estimate/",
    "tests/core/evaluation/",
    "tests/core/exits/",
    "tests/core/importing/",
    "tests/core/parallel/",
    "tests/core/protocol/",
    "tests/core/session/",
    "tests/core/stages/",
    "tests/core/sweeps/",
    "tests/eetui/cli/",
    "tests/eetui/compare/",
    "tests/eetui/exports/",
    "tests/eetui/figures/",
    "tests/eetui/generate/",
    "tests/eetui/inspection/",
    "tests/eetui/live/",
    "tests/eetui/report/",
    "tests/eetui/runs/",
    "tests/eetui/setup/",
    "tests/eetui/sweeps/",
)

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EETUI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EETUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "PEAK_SECONDS", 0.0)
    monkeypatch.setattr(timing, "SECONDS", 0.0)


def set_options(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 2,000 words in which the next one is partly predictable."""
    draw = random.Random(1)
    words = [f"w{number}" for number in range(20)]
    lines = [" ".join(draw.choice(words[:6] if draw.random() < 0.7 else words) for _ in range(20)) for _ in range(100)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("home")
    return os.environ | {
        "EETUI_DB": str(folder / "runs.db"),
        "EETUI_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "160",
        "NO_COLOR": "1",
    }


@pytest.fixture(scope="session")
def eetui(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Eetui:
    """Run `eetui …`; the result has `returncode`, `stdout`, `stderr`."""
    folder = tmp_path_factory.mktemp("cwd")

    def call(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        changed = environment | {"PYTHONPATH": str(Path(__file__).parents[1])} | changes
        if any(name.startswith(OF_PYTHON) for name in changes):
            command = [sys.executable, "-m", "eetui", *arguments]
            return subprocess.run(
                command, env=changed, cwd=folder, capture_output=True, text=True, timeout=100, check=False
            )
        return run_forked(arguments, changed, folder, timeout=100)

    return call


@pytest.fixture(scope="session")
def trained(eetui: Eetui, text: Path) -> subprocess.CompletedProcess[str]:
    """Train the report's three methods with two seeds: runs 1 to 6."""
    options = set_options(*TINY, *TINY_TRAINING)
    return eetui("run", "--no-ui", "--corpus", str(text), "--seeds", "2", "--tag", "tiny", *options)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to `make soak` what takes long: tests marked `soak`, and most cases of each test in `LONG`.

    Two cases stay, and one of a test that is a coroutine, which drives a console; all of files that are named.
    """
    if os.environ.get("EETUI_SOAK"):
        return
    named = all(".py" in argument for argument in config.args)
    seen: Counter[str] = Counter()
    kept, left_out = [], []
    for item in items:
        function = item.nodeid.partition("[")[0]
        seen[function] += 1
        cases = 1 if inspect.iscoroutinefunction(getattr(item, "function", None)) else CASES
        many = seen[function] > cases and not named
        long = item.get_closest_marker("soak") or (function.startswith(LONG) and many)
        (left_out if long else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@given(st.none())
def _start_hypothesis(_: None) -> None:
    """Have its random numbers registered: it warns where nothing that the collector looks through refers to them."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave torch and the tests themselves, a million objects that stay, out of what is looked through for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        _start_hypothesis()
        gc.collect()
        gc.freeze()
        gc.enable()
