"""Commands of sweeps that are there: list, show, resume, add-seeds, cancel, delete."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import UsageError
from eetui.cli.deleting import confirm
from eetui.cli.on_cluster import Ray, reaching
from eetui.cli.options import (
    AsJson,
    Database,
    Force,
    MirrorTo,
    Yes,
    as_share,
    on_database,
    output_shape,
    print_data,
    reading,
    trackers_of,
)
from eetui.cli.plot import Width
from eetui.cli.sweep import Jobs, run_sweep
from eetui.cli.sweep_figures import write_sweep_figures

if TYPE_CHECKING:
    from core.metrics import Metric
    from core.store.stored_sweeps import StoredSweep
    from core.store.writer import Writer
    from core.sweeps.combinations import Combination
    from core.sweeps.spec import Spec

Sweep = Annotated[str, typer.Argument(metavar="SWEEP", help="Name or number of a sweep.")]


def show(
    reference: Sweep,
    metric: Annotated[
        str | None, typer.Option(help="Metric of the heat table and of the importance, such as ppl or accuracy.")
    ] = None,
    rows: Annotated[str | None, typer.Option(metavar="FIELD", help="Field down the heat table.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="FIELD", help="Field across the heat table.")] = None,
    within: Annotated[
        str, typer.Option(metavar="SHARE", help="How far above the best a PPL may be where savings are wanted.")
    ] = "1%",
    importance: Annotated[
        bool, typer.Option(help="Work out how much each field matters, with Optuna: takes seconds.")
    ] = True,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw heat table and front: FILE-heat, FILE-front.")
    ] = None,
    pdf: Annotated[Path | None, typer.Option("--pdf", metavar="FILE", help="The same as PDF.")] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="The same as PNG.")] = None,
    width: Width = "column",
    force: Force = False,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Show a sweep: combinations with figures over seeds, heat table, front, best by purpose, importance."""
    from core.store.stored_sweeps import find_sweep
    from core.sweeps.combinations import stored_combinations
    from core.sweeps.heat import heat_table
    from core.sweeps.objective import metric_called
    from core.sweeps.purposes import best_by_purpose, savings_front
    from eetui.summary import sweep_views_text as views
    from eetui.summary.sweep_text import sweep_json, sweep_lines, view_lines

    chosen = None if metric is None else metric_called(metric, "--metric")
    share = as_share("--within", within)
    if share is None or not 0 <= share <= 1:
        raise UsageError(f"--within must be from 0 to 100%, got {within!r}")
    with reading(db, exact=as_json) as reader:
        sweep = find_sweep(reader, reference)
        found = stored_combinations(reader, sweep)
        table = heat_table(found, chosen, rows, columns)
        choices = best_by_purpose(found, share, reader)
    if files := {suffix: path for suffix, path in (("svg", svg), ("pdf", pdf), ("png", png)) if path is not None}:
        write_sweep_figures(sweep.name, found, table, files, width, force=force)
        return
    if not as_json:
        print(
            "\n".join([*sweep_lines(sweep, found, output_shape()[0]), *view_lines(found, table, choices)]), flush=True
        )
        if importance:
            print("\n".join(_importance_lines(found, chosen)))
        return
    data: dict[str, object] = {
        "heat": views.heat_data(table),
        "front": views.front_data(savings_front(found)),
        "best_by_purpose": views.best_data(choices),
    }
    print_data(sweep_json(sweep, found, data | (_importance_data(found, chosen) if importance else {})))


def _importance_lines(found: "Sequence[Combination]", metric: "Metric | None") -> "Iterable[str]":
    from core.metrics import FINAL_PPL
    from core.sweeps.importance import importance
    from eetui.summary.sweep_text import importance_lines
    from eetui.summary.sweep_views_text import unknown_shares

    try:
        return importance_lines(importance(found, metric or FINAL_PPL))
    except UsageError as error:
        return ("", unknown_shares(error))


def _importance_data(found: "Sequence[Combination]", metric: "Metric | None") -> dict[str, object]:
    from core.metrics import FINAL_PPL
    from core.sweeps.importance import importance
    from eetui.summary.sweep_views_text import importance_data

    try:
        return {"importance": importance_data(importance(found, metric or FINAL_PPL))}
    except UsageError as error:
        return {"importance": {"not_known": str(error)}}


def list_all(as_json: AsJson = False, *, db: Database) -> None:
    """List sweeps, with their runs by status."""
    from core.store.stored_sweeps import list_sweeps
    from eetui.drawing.formats import json_text
    from eetui.summary.sweep_text import list_lines

    with reading(db, exact=as_json) as reader:
        rows = list_sweeps(reader)
    if as_json:
        print_data(json_text(rows))
    else:
        print("\n".join(list_lines(rows)))


def resume(
    reference: Sweep,
    jobs: Jobs = None,
    ray: Ray = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of a search from now on, in all.")] = None,
    mirror: MirrorTo = None,
    *,
    db: Database,
) -> None:
    """Go on with a sweep: runs that wait, were interrupted or failed, and trials that are left."""
    found, mirrors = _find(db, reference), trackers_of(mirror)
    from core.store.writer import Writer
    from core.sweeps.spec import Spec

    spec = Spec.from_plain(found.spec)
    with reaching(ray) as cluster:
        with Writer(db) as store:
            _wait_again(store, found, spec, trials)
        raise typer.Exit(run_sweep(db, found.number, found.name, jobs, cluster, mirrors))


def _wait_again(store: "Writer", found: "StoredSweep", spec: "Spec", trials: int | None) -> None:
    """Put the runs of a sweep that did not finish back into its queue, and set a search's trials."""
    from core.store.sweeps import update_spec, wait_again

    if trials is not None:
        from core.sweeps.search_space import with_trials

        update_spec(store, found.number, with_trials(spec, trials).as_plain())
    wait_again(store, found.number, failed=spec.search is None)


def add_seeds(
    reference: Sweep,
    more: Annotated[int, typer.Argument(metavar="N", min=1, max=1000, help="Number of seeds.")],
    jobs: Jobs = None,
    ray: Ray = None,
    mirror: MirrorTo = None,
    *,
    db: Database,
) -> None:
    """Train every combination of a sweep with N seeds more."""
    found, mirrors = _find(db, reference), trackers_of(mirror)
    from core.store.writer import Writer
    from core.sweeps.create import plan_sweep, store_more
    from core.sweeps.spec import Spec, grid, require_few

    spec = Spec.from_plain(found.spec)
    if spec.search is not None:
        raise UsageError(
            f"{found.name} is a search, whose trials have their seeds; a grid of its best takes more seeds"
        )
    larger = spec.with_seeds(more)
    require_few([len(values) for values in larger.axes.values()], larger.seeds)
    new = [pair for pair in grid(larger) if pair[1].seed >= spec.first_seed + spec.seeds]
    planned = plan_sweep(larger, new, found.name)
    with reaching(ray) as cluster:
        with Writer(db) as store:
            store_more(store, found.number, planned, larger)
        raise typer.Exit(run_sweep(db, found.number, found.name, jobs, cluster, mirrors))


def cancel(reference: Sweep, *, db: Database) -> None:
    """Take the runs of a sweep that wait out of its queue; those in training go on."""
    found = _find(db, reference)
    from core.store.queue import drop, waiting
    from core.store.reader import Reader
    from core.store.writer import Writer

    with Writer(db) as store:
        with Reader(db) as reader:
            runs = waiting(reader, found.number)
        drop(store, runs)
    resume = f"eetui sweep resume {found.name}{on_database(db)}"
    print(f"{len(runs)} runs of {found.name} wait no more; to go on: {resume}", file=sys.stderr)


def delete(
    reference: Sweep,
    yes: Yes = False,
    *,
    db: Database,
) -> None:
    """Delete a sweep with its runs and shared stages; for 30 days eetui restore brings the runs back."""
    found = _find(db, reference)
    from core.config.messages import shortened
    from core.state import LIVE
    from core.store.files import clear_stages, delete_search
    from core.store.queue import drop, waiting
    from core.store.reader import Reader
    from core.store.stored_sweeps import cells_of
    from core.store.sweeps import delete_sweep
    from core.store.writer import Writer

    with Writer(db) as store:
        with Reader(db) as reader:
            cells, idle = cells_of(reader, found.number), waiting(reader, found.number)
        runs = [cell["id"] for cell in cells]
        held = [cell["name"] for cell in cells if cell["status"] in LIVE and cell["id"] not in idle]
        if held:
            raise UsageError(f"{shortened(', '.join(held))} of {found.name} are in training: stop them first")
        if not yes:
            confirm(f"{found.name} and its {len(runs)} runs")
        drop(store, idle)
        store.discard(runs)
        clear_stages(db, delete_sweep(store, found.number))
        delete_search(db, found.number)
    print(f"deleted {found.name} and its {len(runs)} runs (eetui ls --deleted lists them)", file=sys.stderr)


def _find(db: Path, reference: str) -> "StoredSweep":
    from core.store.reader import Reader
    from core.store.stored_sweeps import find_sweep

    with Reader(db) as reader:
        return find_sweep(reader, reference)
