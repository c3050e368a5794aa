"""Commands queue and work: runs that wait in the database, and a worker that trains them."""

import sys
from typing import Annotated

import typer

from core.errors import UsageError
from eetui.cli.groups import commands_at
from eetui.cli.options import (
    AsJson,
    Assignments,
    ConfigFiles,
    Corpus,
    Database,
    Device,
    EvalCorpus,
    FirstSeed,
    MirrorTo,
    Model,
    Reference,
    References,
    Seeds,
    Tags,
    chosen_preset,
    config_layers,
    print_data,
    reading,
    trackers_of,
)

FOREVER = 1e9


def add(
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="As of eetui run.")] = None,
    preset: Annotated[str | None, typer.Option(help="As of eetui run.")] = None,
    config: ConfigFiles = None,
    assign: Assignments = None,
    model: Model = None,
    corpus: Corpus = None,
    eval_corpus: EvalCorpus = None,
    seed: FirstSeed = None,
    seeds: Seeds = 1,
    device: Device = None,
    name: Annotated[str | None, typer.Option(help="As of eetui run.")] = None,
    tag: Tags = None,
    *,
    db: Database,
) -> None:
    """Put runs into the queue, for eetui work to train; the options are those of eetui run."""
    from core.session.plan import plan_from
    from core.session.prepare import check, keep_text
    from core.store.queue import enqueue
    from core.store.writer import Writer

    preset = chosen_preset(preset, model)
    layers = config_layers(
        preset, config, assign, corpus=corpus, eval_corpus=eval_corpus, seed=seed, device=device, model=model
    )
    plan = plan_from(layers, method or (), seeds, preset=preset, name=name, tags=tag or (), sign="--")
    checked = check(plan)
    with Writer(db) as store:
        numbers = store.create_experiment(
            checked.new, lambda connection, runs: enqueue(connection, runs, [str(run) for run in runs])
        )
        keep_text(checked.dataset, store)
    print("queued runs", *numbers, "(eetui work trains them)", file=sys.stderr)


def list_waiting(as_json: AsJson = False, *, db: Database) -> None:
    """List the queue, in its order."""
    from core.store.queue import queued
    from eetui.drawing.formats import json_text

    with reading(db, exact=as_json) as reader:
        rows = queued(reader)
    if as_json:
        print_data(json_text(rows))
        return
    for place, row in enumerate(rows, start=1):
        holder = f" by process {row['pid']} on {row['host']}" if row["status"] == "running" else ""
        print(
            f"{place:>4}  {row['id']:>6}  {row['name']}  {row['method']} · seed {row['seed']}  {row['status']}{holder}"
        )
    if not rows:
        print("nothing waits")


def move(
    reference: Reference,
    place: Annotated[int, typer.Argument(metavar="PLACE", min=1, help="Its place from now on; 1 is next.")],
    *,
    db: Database,
) -> None:
    """Move a run to another place in the queue."""
    from core.store import queue
    from core.store.writer import Writer

    with reading(db, exact=True) as reader:
        run = reader.find(reference)
    with Writer(db) as store:
        queue.move(store, run, place)


def drop(references: References, *, db: Database) -> None:
    """Take runs out of the queue; eetui resume trains them later."""
    from core.store import queue
    from core.store.writer import Writer

    with reading(db, exact=True) as reader:
        runs = [reader.find(reference) for reference in references]
        inside = {row["id"] for row in queue.queued(reader)}
    if outside := [run for run in runs if run not in inside]:
        raise UsageError(f"run {outside[0]} is not in the queue: eetui queue list shows what is")
    with Writer(db) as store:
        queue.drop(store, runs)


def work(
    once: Annotated[bool, typer.Option("--once", help="Train one run, then end.")] = False,
    idle: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait for more once the queue is empty. [default: for ever]")
    ] = None,
    sweep: Annotated[str | None, typer.Option(help="Train runs of this sweep instead.")] = None,
    run: Annotated[str | None, typer.Option(help="Train this run of a sweep or the queue, then end.")] = None,
    mirror: MirrorTo = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
    *,
    db: Database,
) -> None:
    """Train runs from the queue, one after the other, until told to stop (Ctrl-C, SIGTERM)."""
    from core.store.stored_sweeps import find_sweep
    from eetui.cli.headless import Stop, exit_code
    from eetui.cli.worker_processes import stop_with_parent
    from eetui.cli.working import work_here, work_on

    stop, mirrors = Stop(), trackers_of(mirror)
    if with_parent:
        stop_with_parent(stop)
    if run is not None:
        with reading(db, exact=True) as reader:
            number = reader.find(run)
        status = work_on(db, number, stop, mirrors)
        if status is None:
            print(f"run {number} has come to its end already", file=sys.stderr)
        raise typer.Exit(exit_code([status] if status else [], stop.code or 130))
    lane = None
    if sweep is not None:
        with reading(db, exact=True) as reader:
            lane = find_sweep(reader, sweep).number
    idle = FOREVER if idle is None and not once else idle or 0.0
    statuses = work_here(db, lane, stop, once=once, idle=idle, mirrors=mirrors)
    raise typer.Exit(stop.code or exit_code([status for status in statuses.values() if status != "interrupted"]))


def queue() -> None:
    """Runs that wait in the database for eetui work."""


QUEUE = commands_at(
    {"add": "queue:add", "list": "queue:list_waiting", "move": "queue:move", "drop": "queue:drop"},
    queue,
    no_args_is_help=True,
    add_completion=False,
)
"""Command `eetui queue`."""
