"""Command sweep: many runs over values and seeds, and what becomes of them."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from eetui.cli.options import (
    AsJson,
    ConfigFiles,
    Corpus,
    Database,
    Device,
    EvalCorpus,
    FirstSeed,
    Model,
    Seeds,
    config_layers,
    output_shape,
    print_data,
    reading,
)

if TYPE_CHECKING:
    from core.store.sweeps import StoredSweep
    from core.sweeps.create import PlannedSweep
    from core.sweeps.spec import Spec

Sweep = Annotated[str, typer.Argument(metavar="SWEEP", help="Name or number of a sweep.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=256, help="Processes that train at once.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the plan: runs, stages, time, memory; nothing is stored.")
]


def sweep(
    context: typer.Context,
    method: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Exit method, repeatable; several are varied.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="As of eetui run.")] = None,
    config: ConfigFiles = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="A value, or several to vary: a=1,2  a=0.3..0.7:0.2  a=[1,1],[2,2]; repeatable."),
    ] = None,
    model: Model = None,
    corpus: Corpus = None,
    eval_corpus: EvalCorpus = None,
    seed: FirstSeed = None,
    seeds: Seeds = 1,
    device: Device = None,
    name: Annotated[str | None, typer.Option(help="Name of the sweep. [default: sweep-N]")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag of its runs, repeatable.")] = None,
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    print_commands: Annotated[
        bool, typer.Option("--print", help="Print a command for each run, for sbatch or any other machine.")
    ] = False,
    *,
    db: Database,
) -> None:
    """Train every combination of values with every seed, as runs of one sweep that can be resumed."""
    import os

    os.environ["EETUI_DB"] = str(db)  # default of the subcommand's own --db
    if context.invoked_subcommand is not None:
        return
    from core.config.run_config import DEFAULT_PRESET, PRETRAINED_PRESET
    from core.pretrained.place import is_pretrained
    from core.sweeps.spec import grid, spec_from

    fixed, axes = read_assignments(assign or [])
    preset = preset or (PRETRAINED_PRESET if is_pretrained(model or "") else DEFAULT_PRESET)
    layers = config_layers(
        preset, config, fixed, corpus=corpus, eval_corpus=eval_corpus, seed=seed, device=device, model=model
    )
    spec = spec_from(layers, axes, list(dict.fromkeys(method or [])), seeds, preset=preset, tags=tag or [])
    if not spec.axes and seeds == 1:
        raise UsageError(
            "there is nothing to vary: give --set several values (hard_ratio=0.3,0.5), several --method, or --seeds"
        )
    from core.sweeps.create import plan_sweep

    name = name or _free_name(db)
    planned = plan_sweep(spec, grid(spec), name, jobs)
    if dry_run:
        _print_plan(spec, planned, jobs)
        return
    number = _stored(db, name, spec, planned)
    if print_commands:
        print_run_commands(db, number)
        return
    raise typer.Exit(run_sweep(db, number, name, jobs))


def read_assignments(assignments: "list[str]") -> "tuple[list[str], list[Axis]]":
    """Split what `--set` gives into single values and those to vary.

    Raises:
        ConfigError: a value can't be read.
    """
    from core.config.run_config import set_layer
    from core.sweeps.values import Range, read_axis

    fixed, axes = [], []
    for assignment in assignments:
        set_layer(assignment)  # complains of what has no name or no value
        name, _, text = assignment.partition("=")
        axis = read_axis(name.strip(), text.strip())
        if isinstance(axis.values, Range) or len(axis.values) > 1:
            axes.append(axis)
        else:
            fixed.append(assignment)
    return fixed, axes


def run_sweep(db: Path, number: int, name: str, jobs: int) -> int:
    """Train what is left of a sweep, say how it went, and return the exit code."""
    from eetui.cli.headless import Stop
    from eetui.cli.working import work_here, work_in_processes

    stop = Stop()
    if jobs == 1:
        work_here(db, number, stop)
    else:
        work_in_processes(db, number, jobs, stop)
    return _say_how_it_went(db, number, name, stop.code)


def show(reference: Sweep, as_json: AsJson = False, *, db: Database) -> None:
    """Show a sweep: each combination with its figures, mean ± deviation over the seeds."""
    from core.store.sweeps import cells_of, find_sweep
    from eetui.summary.sweep_text import sweep_json, sweep_lines

    with reading(db, exact=as_json) as reader:
        found = find_sweep(reader, reference)
        cells = cells_of(reader, found.number)
    if as_json:
        print_data(sweep_json(found, cells))
    else:
        print("\n".join(sweep_lines(found, cells, output_shape()[0])))


def list_all(as_json: AsJson = False, *, db: Database) -> None:
    """List sweeps, with their runs by status."""
    from core.store.sweeps import list_sweeps
    from eetui.drawing.formats import json_text
    from eetui.summary.sweep_text import list_lines

    with reading(db, exact=as_json) as reader:
        rows = list_sweeps(reader)
    if as_json:
        print_data(json_text(rows))
    else:
        print("\n".join(list_lines(rows)))


def resume(reference: Sweep, jobs: Jobs = 1, *, db: Database) -> None:
    """Go on with a sweep: runs that wait, were interrupted or failed."""
    found = _find(db, reference)
    from core.store.sweeps import wait_again
    from core.store.writer import Writer

    with Writer(db) as store:
        wait_again(store, found.number)
    raise typer.Exit(run_sweep(db, found.number, found.name, jobs))


def add_seeds(
    reference: Sweep,
    more: Annotated[int, typer.Argument(metavar="N", min=1, max=1000, help="Number of seeds.")],
    jobs: Jobs = 1,
    *,
    db: Database,
) -> None:
    """Train every combination of a sweep with N seeds more."""
    found = _find(db, reference)
    from core.store.writer import Writer
    from core.sweeps.create import plan_sweep, store_more
    from core.sweeps.spec import Spec, grid, require_few

    spec = Spec.from_plain(found.spec)
    larger = spec.with_seeds(more)
    require_few([len(values) for values in larger.axes.values()], larger.seeds)
    new = [pair for pair in grid(larger) if pair[1].seed >= spec.first_seed + spec.seeds]
    planned = plan_sweep(larger, new, found.name, jobs)
    with Writer(db) as store:
        store_more(store, found.number, planned, larger)
    raise typer.Exit(run_sweep(db, found.number, found.name, jobs))


def cancel(reference: Sweep, *, db: Database) -> None:
    """Take the runs of a sweep that wait out of its queue; those in training go on."""
    found = _find(db, reference)
    from core.store.queue import drop
    from core.store.reader import Reader
    from core.store.sweeps import waiting
    from core.store.writer import Writer

    with Writer(db) as store:
        with Reader(db) as reader:
            runs = waiting(reader, found.number)
        drop(store, runs)
    print(f"{len(runs)} runs of {found.name} wait no more; to go on: eetui sweep resume {found.name}", file=sys.stderr)


def delete(
    reference: Sweep,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    *,
    db: Database,
) -> None:
    """Delete a sweep with its runs and shared stages; for 30 days eetui restore brings the runs back."""
    found = _find(db, reference)
    from core.store.files import clear_stages
    from core.store.queue import drop
    from core.store.reader import Reader
    from core.store.sweeps import cells_of, delete_sweep, waiting
    from core.store.writer import Writer

    with Writer(db) as store:
        with Reader(db) as reader:
            runs = [cell["id"] for cell in cells_of(reader, found.number)]
            idle = waiting(reader, found.number)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("nothing was deleted, as nobody can be asked: confirm with --yes")
            typer.confirm(f"Delete {found.name} and its {len(runs)} runs?", abort=True, err=True)
        drop(store, idle)
        store.discard(runs)
        clear_stages(db, delete_sweep(store, found.number))
    print(f"deleted {found.name} and its {len(runs)} runs (eetui ls --deleted lists them)", file=sys.stderr)


def print_run_commands(db: Path, number: int) -> None:
    """Print a command for each run of a sweep that waits."""
    from core.store.queue import queued
    from core.store.reader import Reader

    with Reader(db) as reader:
        for row in queued(reader, number):
            print(f"eetui work --run {row['id']} --db {shlex.quote(str(db.absolute()))}")


def _find(db: Path, reference: str) -> "StoredSweep":
    from core.store.reader import Reader
    from core.store.sweeps import find_sweep

    with Reader(db) as reader:
        return find_sweep(reader, reference)


def _free_name(db: Path) -> str:
    """Return the name of a new sweep: `sweep-1` and so on."""
    if not db.exists():
        return "sweep-1"
    from core.store.reader import Reader
    from core.store.sweeps import list_sweeps

    with Reader(db) as reader:
        return f"sweep-{max((row['id'] for row in list_sweeps(reader)), default=0) + 1}"


def _stored(db: Path, name: str, spec: "Spec", planned: "PlannedSweep") -> int:
    from core.store.writer import Writer
    from core.sweeps.create import store_sweep

    with Writer(db) as store:
        number = store_sweep(store, name, spec, planned)
        for remark in (planned.remark, store.remark):
            if remark:
                print(remark, file=sys.stderr)
    print(f"sweep {name}: {len(planned.runs)} runs", file=sys.stderr)
    return number


def _print_plan(spec: "Spec", planned: "PlannedSweep", jobs: int) -> None:
    from core.sweeps.plan import outline
    from eetui.summary.sweep_text import plan_lines

    print("\n".join(plan_lines(outline(planned, jobs))))


def _say_how_it_went(db: Path, number: int, name: str, stopped: int) -> int:
    """Say which runs of a sweep finished and which did not, and return the exit code."""
    from collections import Counter

    from core.store.sweeps import cells_of
    from eetui.summary.shown_reader import ShownReader

    with ShownReader(db) as reader:
        cells = cells_of(reader, number)
    counts = Counter(cell["status"] for cell in cells)
    print(f"{name}: {', '.join(f'{count} {status}' for status, count in counts.items())}", file=sys.stderr)
    for cell in cells:
        if cell["status"] in ("failed", "interrupted"):
            print(f"{cell['status']}: {cell['name']} (run {cell['id']}): {cell['error']}", file=sys.stderr)
    left = len(cells) - counts["finished"]
    print(f"side by side: eetui sweep show {name}", file=sys.stderr)
    if left:
        print(f"to go on: eetui sweep resume {name}", file=sys.stderr)
    return stopped or int(left > 0)
