"""Command sweep: many runs over values and seeds, and what becomes of them."""

import itertools
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import UsageError
from eetui.cli.choices import CHOICES, listed
from eetui.cli.groups import commands_at
from eetui.cli.on_cluster import Ray, reaching, slots_for
from eetui.cli.options import (
    ConfigFiles,
    Corpus,
    Database,
    Device,
    EvalCorpus,
    FirstSeed,
    MirrorTo,
    Model,
    Seeds,
    chosen_preset,
    config_layers,
    on_database,
    trackers_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.state import Status
    from core.sweeps.create import PlannedSweep
    from core.sweeps.remote.ray_cluster import Cluster
    from core.sweeps.spec import Spec
    from core.sweeps.values import Axis
    from eetui.cli.headless import Stop
    from eetui.trackers.contract import Trackers

Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, max=256, help="Runs at once, each in a process. [default: 1]"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show runs, stages, time and memory; nothing is stored.")]


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
    jobs: Jobs = None,
    ray: Ray = None,
    search: Annotated[
        str | None, typer.Option(help=f"Let Optuna choose instead of a grid: {listed(CHOICES['--search'])}.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Combinations that a search tries, in all.")] = None,
    objective: Annotated[
        str, typer.Option(help="What a search looks for; several, by commas, give the front.")
    ] = "eval_ppl",
    constraint: Annotated[
        list[str] | None, typer.Option(help="Bound that a search keeps, such as 'flop_savings>=0.3'; repeatable.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="End trials early whose first epochs are bad.")] = False,
    mirror: MirrorTo = None,
    dry_run: DryRun = False,
    print_commands: Annotated[
        bool, typer.Option("--print", help="Print a command for each run, for sbatch or any other machine.")
    ] = False,
    *,
    db: Database,
) -> None:
    """Train every combination of values with every seed, as runs of one sweep that can be resumed."""
    os.environ["EETUI_DB"] = str(db)  # default of the subcommand's own --db
    if context.invoked_subcommand is not None:
        _require_no_options(context, context.invoked_subcommand)
        return
    from core.sweeps.spec import spec_from

    fixed, axes = read_assignments(assign or [])
    preset = chosen_preset(preset, model)
    layers = config_layers(
        preset, config, fixed, corpus=corpus, eval_corpus=eval_corpus, seed=seed, device=device, model=model
    )
    methods = list(dict.fromkeys(method or []))
    plain = None
    if search is not None:
        plain = _search(search, trials, objective, constraint or [], axes, methods, prune=prune, printed=print_commands)
    elif trials is not None or constraint or prune:
        raise UsageError("--trials, --constraint and --prune are of a search: add --search tpe")
    spec = spec_from(layers, axes, methods, seeds, preset=preset, tags=tag or [], search=plain)
    if search is None and not spec.axes and seeds == 1:
        raise UsageError(
            "there is nothing to vary: give --set several values (hard_ratio=0.3,0.5), several --method, or --seeds"
        )
    mirrors = trackers_of(mirror)
    raise typer.Exit(
        _make(db, name or _free_name(db), spec, jobs, ray, mirrors, dry_run=dry_run, print_commands=print_commands)
    )


def _require_no_options(context: typer.Context, command: str) -> None:
    """Refuse options of a new sweep before a command that is about another one.

    Raises:
        UsageError: there are some.
    """
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in ("db", None)
        and (source := context.get_parameter_source(option.name))
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)} before {command} would be of a new sweep: write it after {command}, if that takes it"
        )


def _search(
    search: str,
    trials: int | None,
    objective: str,
    constraints: "list[str]",
    axes: "list[Axis]",
    methods: "list[str]",
    *,
    prune: bool,
    printed: bool,
) -> "dict[str, Any]":
    """Return what is searched, as plain values.

    Raises:
        UsageError: it can't be.
    """
    from dataclasses import replace

    from core.sweeps.search_space import search_from
    from core.sweeps.spec import full_name
    from core.sweeps.values import Axis

    if printed:
        raise UsageError("--print writes the runs of a grid; those of a search follow from each other")
    named = [replace(axis, name=full_name(axis.name, axis.origin)) for axis in axes]
    several = [Axis("method", ",".join(methods), tuple(methods))] if len(methods) > 1 else []
    return search_from(search, trials, objective, constraints, [*several, *named], prune=prune)


def _make(
    db: Path,
    name: str,
    spec: "Spec",
    jobs: int | None,
    ray: str | None,
    mirrors: "Trackers",
    *,
    dry_run: bool,
    print_commands: bool,
) -> int:
    """Make a sweep and train it, or only show or print it; return the exit code."""
    from core.sweeps.create import plan_sweep, with_threads
    from core.sweeps.spec import grid

    if ray is not None and print_commands:
        raise UsageError("--print writes commands for elsewhere, and --ray trains now: leave one out")
    spec, remark = with_threads(spec, jobs or 1, each=1 if ray is not None else None)
    if spec.search is not None:
        from core.sweeps.search_space import check_space

        check_space(spec)
    planned = plan_sweep(spec, [] if spec.search is not None else grid(spec), name)
    if dry_run:
        _print_plan(spec, planned, jobs or 1)
        return 0
    with reaching(ray) as cluster:
        number = _stored(db, name, spec, planned, remark)
        if print_commands:
            print_run_commands(db, number, mirrors)
            return 0
        return run_sweep(db, number, name, jobs, cluster, mirrors)


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


def run_sweep(
    db: Path, number: int, name: str, jobs: int | None, cluster: "Cluster | None", mirrors: "Trackers"
) -> int:
    """Train what is left of a sweep, on a cluster where there is one, say how it went, and return the exit code.

    Args:
        mirrors: as in `train_headless`.
    """
    from eetui.cli.headless import Stop
    from eetui.cli.working import wait_for_others

    stop = Stop()
    _work(db, number, jobs, cluster, stop, mirrors)
    while wait_for_others(db, number, stop):
        _work(db, number, jobs, cluster, stop, mirrors)
    return _say_how_it_went(db, number, name, stop.code)


def _work(
    db: Path, number: int, jobs: int | None, cluster: "Cluster | None", stop: "Stop", mirrors: "Trackers"
) -> None:
    """Train the runs of a sweep that nobody else does, in this process, in several, or on a cluster."""
    from eetui.cli.worker_processes import work_in_processes
    from eetui.cli.working import work_here

    if cluster is not None:
        from core.sweeps.remote.training import RemoteTraining

        slots, training = jobs or slots_for(db, number, cluster), RemoteTraining(cluster)
        work_here(db, number, stop, slots=slots, training=training, mirrors=mirrors)
    elif (jobs or 1) == 1:
        work_here(db, number, stop, mirrors=mirrors)
    else:
        work_in_processes(db, number, jobs or 1, stop, [name for name, _ in mirrors])


def print_run_commands(db: Path, number: int, mirrors: "Trackers") -> None:
    """Print a command for each run of a sweep that waits; each tells trackers of its run."""
    from core.store.queue import queued
    from core.store.reader import Reader

    told = "".join(f" --mirror {shlex.quote(name)}" for name, _ in mirrors)
    with Reader(db) as reader:
        for row in queued(reader, number):
            print(f"eetui work --run {row['id']} --db {shlex.quote(str(db.absolute()))}{told}")


def _free_name(db: Path) -> str:
    """Return a name that no sweep has: `sweep-1` and so on."""
    if not db.exists():
        return "sweep-1"
    from core.store.reader import Reader
    from core.store.stored_sweeps import list_sweeps

    with Reader(db) as reader:
        rows = list_sweeps(reader)
    taken, last = {row["name"] for row in rows}, max((row["id"] for row in rows), default=0)
    return next(name for number in itertools.count(last + 1) if (name := f"sweep-{number}") not in taken)


def _stored(db: Path, name: str, spec: "Spec", planned: "PlannedSweep", remark: str) -> int:
    from core.store.writer import Writer
    from core.sweeps.create import store_sweep

    with Writer(db) as store:
        number = store_sweep(store, name, spec, planned)
        for one in (remark, store.remark):
            if one:
                print(one, file=sys.stderr)
    runs = f"{spec.search['trials']} trials × {spec.seeds} seeds" if spec.search else f"{len(planned.runs)} runs"
    print(f"sweep {name}: {runs}", file=sys.stderr)
    return number


def _print_plan(spec: "Spec", planned: "PlannedSweep", jobs: int) -> None:
    from core.sweeps.plan import outline
    from eetui.summary.sweep_text import plan_lines

    if spec.search is not None:
        trials = spec.search["trials"]
        print(f"runs      up to {trials * spec.seeds} ({trials} trials × {spec.seeds} seeds)")
        print("stages    trials that differ in exits only share what is trained before these are set")
        return
    print("\n".join(plan_lines(outline(planned, jobs))))


def _say_how_it_went(db: Path, number: int, name: str, stopped: int) -> int:
    """Say which runs of a sweep finished and which did not, and return the exit code."""
    from collections import Counter

    from core.store.stored_sweeps import cells_of, is_pruned
    from eetui.cli.headless import exit_code
    from eetui.summary.shown_reader import ShownReader

    with ShownReader(db) as reader:
        cells = cells_of(reader, number)
    counts = Counter("pruned" if is_pruned(cell) else cell["status"] for cell in cells)
    print(f"{name}: {', '.join(f'{count} {status}' for status, count in counts.items())}", file=sys.stderr)
    for cell in cells:
        if cell["status"] in ("failed", "interrupted") and not is_pruned(cell):
            print(f"{cell['status']}: {cell['name']} (run {cell['id']}): {cell['error']}", file=sys.stderr)
    left = len(cells) - counts["finished"] - counts["pruned"]
    print(f"side by side: eetui sweep show {name}{on_database(db)}", file=sys.stderr)
    if left:
        print(f"to go on: eetui sweep resume {name}{on_database(db)}", file=sys.stderr)
    return stopped or exit_code([_outcome(cell) for cell in cells])


def _outcome(cell: "Mapping[str, Any]") -> "Status":
    """Return what a run of a sweep counts as, once nothing trains it: one that was pruned has done what it was for."""
    from core.store.queue import DIED
    from core.store.stored_sweeps import is_pruned

    if cell["status"] == "finished" or is_pruned(cell):
        return "finished"
    return "interrupted" if cell["status"] == "interrupted" and cell["error"] != DIED else "failed"


SWEEP = commands_at(
    {
        "list": "sweeps:list_all",
        "show": "sweeps:show",
        "resume": "sweeps:resume",
        "add-seeds": "sweeps:add_seeds",
        "cancel": "sweeps:cancel",
        "delete": "sweeps:delete",
    },
    sweep,
    invoke_without_command=True,
    add_completion=False,
)
"""Command `eetui sweep`, which makes a sweep without any of the commands in it."""
