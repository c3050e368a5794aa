"""Commands that train: run, and resume for interrupted or failed runs."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import UsageError
from core.parallel.launch import is_follower, launch
from eetui.cli.on_cluster import Ray, Workers, one_thread, train_on_cluster
from eetui.cli.open_console import has_terminal, open_console
from eetui.cli.options import (
    Assignments,
    ConfigFiles,
    Corpus,
    Database,
    Device,
    EvalCorpus,
    FirstSeed,
    MirrorTo,
    Model,
    NoUi,
    References,
    Seeds,
    Tags,
    chosen_preset,
    config_layers,
    trackers_of,
)

if TYPE_CHECKING:
    from core.session.plan import Plan
    from core.session.prepare import Prepared
    from core.store.writer import Writer
    from eetui.console.training_thread import Request
    from eetui.trackers.contract import Trackers


def config_values() -> Iterator[tuple[str, str, Any]]:
    """Yield every config value's dotted name, description and default, for help texts."""
    from core.config.dotted_names import flatten
    from core.config.run_config import DEFAULT_PRESET, build, fields, method_labels, preset_layer

    values = flatten(build([preset_layer(DEFAULT_PRESET)]).model_dump())
    choices = {"method": f"; the names: {', '.join(method_labels().values())}"}
    for name, (description, _) in fields().items():
        yield name, description + choices.get(name, ""), values[name]


def _print_config_help(asked: bool) -> None:
    if asked:
        for name, description, default in config_values():
            print(f"{name:28} {description} [{default}]")
        raise typer.Exit


def run(
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", "-m", help="Exit method, a name or your own file, repeatable. [default: the report's three]"
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="sound (default), seed, quick, deep, pretrained (the default with --model) or layerskip."),
    ] = None,
    config: ConfigFiles = None,
    assign: Assignments = None,
    model: Model = None,
    corpus: Corpus = None,
    eval_corpus: EvalCorpus = None,
    seed: FirstSeed = None,
    seeds: Seeds = 1,
    device: Device = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; several get their method and seed added.")] = None,
    tag: Tags = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time the parts of every stage; shown at the end, in Live and by show.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
    mirror: MirrorTo = None,
    no_ui: NoUi = False,
    ray: Ray = None,
    workers: Workers = None,
    help_config: Annotated[
        bool, typer.Option("--help-config", help="List all config values.", callback=_print_config_help, is_eager=True)
    ] = False,
    *,
    db: Database,
) -> None:
    """Train one run for each method and seed, and store them as one experiment."""
    from core.session.plan import plan_from

    _check_workers(ray, workers, no_ui=no_ui)
    if as_json and not profile:
        raise UsageError("--json prints the profile, and there is none without --profile")
    if as_json and _in_console(no_ui=no_ui):
        raise UsageError("--json prints when training ends, and the console does not: add --no-ui")
    preset = chosen_preset(preset, model)
    layers = config_layers(
        preset, config, assign, corpus=corpus, eval_corpus=eval_corpus, seed=seed, device=device, model=model
    )
    if ray is not None:
        layers.insert(1, one_thread())
    plan = plan_from(layers, method or (), seeds, preset=preset, name=name, tags=tag or (), sign="--", profile=profile)
    request, mirrors = request_for(plan, workers or 1), trackers_of(mirror)
    if ray is not None:
        machine = plan.configs[0].machine.model_dump()
        raise typer.Exit(train_on_cluster(request, db, ray, workers or 1, machine, as_json=as_json, mirrors=mirrors))
    _train(request, db, no_ui=no_ui, as_json=as_json, mirrors=mirrors)


def resume(
    references: References,
    mirror: MirrorTo = None,
    no_ui: NoUi = False,
    ray: Ray = None,
    workers: Workers = None,
    *,
    db: Database,
) -> None:
    """Resume runs that were interrupted or failed, from their last complete epoch."""
    from core.store.reader import Reader

    _check_workers(ray, workers, no_ui=no_ui)
    mirrors = trackers_of(mirror)
    numbers, machine = list[int](), dict[str, Any]()
    if not is_follower():  # which needs no database
        with Reader(db) as reader:
            numbers = [reader.find(reference) for reference in references]
            machine = reader.run(numbers[0])["config"].get("machine", {})  # none of an imported run, refused below

    def prepare(store: "Writer") -> "Prepared":
        from core.session.prepare import prepare_resume

        return prepare_resume(numbers, store, workers or 1)

    if ray is not None:
        raise typer.Exit(train_on_cluster(prepare, db, ray, workers or 1, machine, mirrors=mirrors))
    _train(prepare, db, no_ui=no_ui, mirrors=mirrors)


def request_for(plan: "Plan", workers: int = 1) -> "Request":
    """Return a function that prepares the experiment in a store; torch is imported when it is called."""

    def prepare(store: "Writer") -> "Prepared":
        from core.session.prepare import prepare

        return prepare(plan, store, workers)

    return prepare


def _check_workers(ray: str | None, workers: int | None, *, no_ui: bool) -> None:
    """Refuse `--ray` and `--workers` where they can't be meant.

    Raises:
        UsageError: it is so.
    """
    if ray is None and workers is not None:
        raise UsageError(
            "--workers is for --ray; several processes of this machine: torchrun --nproc-per-node N -m eetui …"
        )
    if ray is not None and launch():
        raise UsageError("--ray starts the processes of a run itself: leave torchrun out")
    if ray is not None and _in_console(no_ui=no_ui):
        raise UsageError("--ray trains without the console: add --no-ui")


def _in_console(*, no_ui: bool) -> bool:
    """Whether to train in the console: there is a terminal, and headless was not requested."""
    return not no_ui and has_terminal()


def _train(request: "Request", db: Path, *, no_ui: bool, as_json: bool = False, mirrors: "Trackers" = ()) -> None:
    """Train in the console or headless, alone or with the other processes of a launch, and exit."""
    if launched := launch():
        if not no_ui:
            raise UsageError("several processes train without the console: add --no-ui")
        from eetui.cli.together import train_together

        raise typer.Exit(train_together(request, db, launched, as_json=as_json, mirrors=mirrors))
    if _in_console(no_ui=no_ui):
        raise typer.Exit(open_console(db, request, mirrors=mirrors))
    from eetui.cli.headless import train_headless

    if not no_ui:
        print("eetui: no terminal for the console, so training headless (--no-ui)", file=sys.stderr)
    raise typer.Exit(train_headless(request, db, as_json=as_json, mirrors=mirrors))
