"""Whole commands on the clock, in turns with `python -c pass` and `python -c 'import torch'` as yardsticks.

    python -m benchmarks.startup [--quick] [--json FILE]

Each command is a process of its own, as at the prompt, with its output going to a pipe.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._report import Report, figure
from core.store.reader import Reader
from core.store.writer import Writer
from tests.scripted_runs import append, many_runs, scripted

RUNS = 10_000
EETUI = (sys.executable, "-m", "eetui")


def completing(line: str) -> tuple[str, ...]:
    """The beginning of a command that completes a command line, as zsh starts it."""
    return "env", "_EETUI_COMPLETE=complete_zsh", f"_TYPER_COMPLETE_ARGS={line}"


COMMANDS: dict[str, tuple[tuple[str, ...], float | None]] = {
    "python -c pass": ((sys.executable, "-c", "pass"), None),
    "python -c 'import torch'": ((sys.executable, "-c", "import torch"), None),
    "eetui --version": ((*EETUI, "--version"), 100),
    "eetui --help": ((*EETUI, "--help"), None),
    f"complete a run's name, {RUNS:,} runs": ((*completing("eetui show loss-1"), *EETUI), 150),
    "complete a config key": ((*completing("eetui run --set tr"), *EETUI), 150),
    "complete a metric": ((*completing("eetui compare --metrics fl"), *EETUI), 150),
    "complete what a list is sorted by": ((*completing("eetui ls --sort cr"), *EETUI), 150),
    f"eetui ls, {RUNS:,} runs": ((*EETUI, "ls"), 300),
    f"eetui ls --limit 20, {RUNS:,} runs": ((*EETUI, "ls", "--limit", "20"), 300),
    f"eetui compare, {RUNS:,} runs": ((*EETUI, "compare"), 300),
}
"""Name, command, and the milliseconds it may take."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--quick", action="store_true", help="7 rounds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rounds = 7 if options.quick else options.rounds
    report = Report("Start-up: whole commands", {"rounds": rounds})
    with tempfile.TemporaryDirectory() as name:
        database = many_runs(Path(name) / "runs.db", RUNS)
        with_events(database)
        taken = measure(environment(database), rounds)
    for command, (_, most) in COMMANDS.items():
        report.add(figure(command, [1000 * seconds for seconds in taken[command]], "ms", most=most))
    report.write(options.json)


def with_events(database: Path) -> None:
    """Give the newest experiment, which `compare` shows, the events of whole runs."""
    with Reader(database) as reader:
        runs = reader.latest_experiment()
    with Writer(database) as writer:
        for run in runs:
            append(writer, run, list(scripted()))


def measure(environment: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """Seconds of each command in each round; one round before them is for the file cache."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, (command, _) in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            taken[name].append(time.perf_counter() - began)
    return {name: seconds[1:] for name, seconds in taken.items()}


def environment(database: Path) -> dict[str, str]:
    """As a user has it, without settings of this machine's; modules are compiled once, and not for every command."""
    own = {"EETUI_DB": str(database), "EETUI_CONFIG": str(database.with_suffix(".no-settings"))}
    theirs = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return theirs | own | {"PYTHONPATH": str(Path(__file__).parents[1])}


if __name__ == "__main__":
    main()
