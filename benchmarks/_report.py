"""What all benchmarks have in common: figures with their spread and goal, printed as they come and kept as JSON."""

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.machine.processes import peak_memory
from core.valid_json import finite

PACKAGES = ("torch", "textual", "typer", "rich", "numpy")


@dataclass(frozen=True)
class Figure:
    """A measured value: the median of its rounds and how far they spread, and what it has to reach, if anything.

    Attributes:
        least, most: the goal.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    rounds: int
    least: float | None = None
    most: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the goal; None without one."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.median >= self.least) and (self.most is None or self.median <= self.most)

    @property
    def goal(self) -> str:
        """As text, empty without one."""
        signs = (("≥", self.least), ("≤", self.most))
        return " and ".join(
            f"{sign} {number(value)} {self.unit}".rstrip() for sign, value in signs if value is not None
        )


def figure(
    name: str, values: Sequence[float], unit: str = "", *, least: float | None = None, most: float | None = None
) -> Figure:
    """The figure of some rounds' values."""
    return Figure(name, unit, statistics.median(values), min(values), max(values), len(values), least, most)


@dataclass
class Report:
    """One benchmark's figures."""

    title: str
    options: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def __post_init__(self) -> None:
        print(f"{self.title}\n{', '.join(f'{key} {value}' for key, value in self.machine.items())}\n", flush=True)

    def add(self, figure: Figure) -> None:
        """Print and keep a figure."""
        self.figures.append(figure)
        verdict = {None: "", True: f"  goal {figure.goal}: reached", False: f"  goal {figure.goal}: MISSED"}
        spread = f"[{number(figure.low)} … {number(figure.high)}]"
        value = f"{number(figure.median):>10} {figure.unit:9} {spread:22}"
        print(f"{figure.name:52} {value}{verdict[figure.reached]}", flush=True)

    def note(self, text: str) -> None:
        """Print and keep a remark."""
        self.notes.append(text)
        print(text, flush=True)

    def write(self, path: Path | None) -> None:
        """Keep it all as JSON, if a path is given."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(finite(asdict(self)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Hardware, how busy it is with other things, and versions."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load at start": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def number(value: float) -> str:
    """Three significant digits, thousands as they are."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def own_peak() -> int:
    """Largest resident bytes of this process; what `getrusage` says on Linux may be those of its parent."""
    return status_bytes("VmHWM") if Path("/proc/self/status").exists() else peak_memory()


def status_bytes(name: str, process: int | None = None) -> int:
    """What Linux says of a process, this one by default: `VmHWM`, its largest resident size, or `VmRSS`."""
    lines = Path(f"/proc/{process or 'self'}/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
