"""The command line. What takes long to import is imported inside the command that needs it."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import EetuiError, UsageError
from eetui import __version__
from eetui.cli import analyse as analysis
from eetui.cli.options import AsJson, CorpusText, Database, EvaluationText, NoUi, output_shape
from eetui.cli.options import output as console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.session.prepare import Prepared
    from core.store.writer import Writer
    from eetui.compare.run_view import RunView
    from eetui.console.training_thread import Request

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A lab bench in the terminal for early-exit language models.",
)

for command in (analysis.quality, analysis.calibrate, analysis.diagnose, analysis.ablate, analysis.generate):
    app.command()(command)


def main() -> None:
    """Entry point: every error meant for the user becomes one message and its exit code."""
    try:
        app()
    except EetuiError as error:
        print(f"eetui: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: nothing to complain of
        sys.exit(0)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"eetui {__version__}")
        raise typer.Exit


@app.callback()
def _console_or_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    *,
    db: Database,
) -> None:
    """Without a command: open the console."""
    os.environ["EETUI_DB"] = str(db)  # for the command, unless it is told otherwise
    if context.invoked_subcommand is None:
        if not _has_terminal():
            raise UsageError("the console needs a terminal; eetui --help lists the commands that do without")
        raise typer.Exit(_open_console(db))


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _open_console(db: Path, request: "Request | None" = None) -> int:
    from eetui.app import run_console
    from eetui.console.settings import load_settings

    return run_console(db, load_settings(), request)


def _print_config_help(asked: bool) -> None:
    if asked:
        from core.config.dotted_names import flatten
        from core.config.run_config import DEFAULT_PRESET, build, fields, method_labels, preset_layer

        values = flatten(build([preset_layer(DEFAULT_PRESET)]).model_dump())
        choices = {"method": f"; the names: {', '.join(method_labels().values())}"}
        for name, (description, _) in fields().items():
            print(f"{name:28} {description}{choices.get(name, '')} [{values[name]}]")
        raise typer.Exit


@app.command()
def run(
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", "-m", help="Exit method, a name or your own file, repeatable. [default: the report's three]"
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="sound (default), seed or quick.")] = None,
    config: Annotated[list[Path] | None, typer.Option(help="TOML file of config values, repeatable.")] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="One config value, a.b=value, repeatable.")] = None,
    corpus: CorpusText = None,
    eval_corpus: EvaluationText = None,
    seed: Annotated[int | None, typer.Option(help="First seed.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Number of consecutive seeds.")] = 1,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; several get their method and seed added.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag, repeatable.")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time the parts of every stage; shown at the end, in Live and by show.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
    no_ui: NoUi = False,
    help_config: Annotated[
        bool, typer.Option("--help-config", help="List all config values.", callback=_print_config_help, is_eager=True)
    ] = False,
    *,
    db: Database,
) -> None:
    """Train one run for each method and seed, and store them as one experiment."""
    from core.config import run_config as configs
    from eetui.setup.plan import REPORT_METHODS, plan_from

    if as_json and not profile:
        raise UsageError("--json prints the profile, and there is none without --profile")
    if as_json and _in_console(no_ui=no_ui):
        raise UsageError("--json prints when training ends, and the console does not: add --no-ui")
    preset = preset or configs.DEFAULT_PRESET
    flags = {
        "--corpus": ("data.corpus", corpus),
        "--eval-corpus": ("data.eval_corpus", eval_corpus),
        "--seed": ("seed", seed),
        "--device": ("machine.device", device),
    }
    layers = [
        configs.preset_layer(preset),
        *(configs.file_layer(path) for path in config or ()),
        *(configs.set_layer(text) for text in assign or ()),
        *(configs.Layer(f"{flag} {v}", {key: v}) for flag, (key, v) in flags.items() if v is not None),
    ]
    base = configs.build(layers)
    chosen = any("method" in layer.values for layer in layers)
    methods = tuple(dict.fromkeys(method or ([base.method] if chosen else REPORT_METHODS)))
    plan = plan_from(layers, methods, seeds, preset=preset, name=name, tags=tag or (), sign="--", profile=profile)

    def prepare(store: "Writer") -> "Prepared":
        from core.session.prepare import prepare

        return prepare(plan, store)

    _train(prepare, db, no_ui=no_ui, as_json=as_json)


@app.command()
def resume(
    references: Annotated[list[str], typer.Argument(metavar="RUN...", help="Numbers, names or unique prefixes.")],
    no_ui: NoUi = False,
    *,
    db: Database,
) -> None:
    """Go on with runs that were interrupted or failed, from the last epoch that was complete."""
    from core.store.reader import Reader

    with Reader(db) as reader:
        numbers = [reader.find(reference) for reference in references]

    def prepare(store: "Writer") -> "Prepared":
        from core.session.prepare import prepare_resume

        return prepare_resume(numbers, store)

    _train(prepare, db, no_ui=no_ui)


def _in_console(*, no_ui: bool) -> bool:
    """Whether to train there: unless headless was asked for, or there is no terminal."""
    return not no_ui and _has_terminal()


def _train(request: "Request", db: Path, *, no_ui: bool, as_json: bool = False) -> None:
    """In the console, or headless."""
    if _in_console(no_ui=no_ui):
        raise typer.Exit(_open_console(db, request))
    from eetui.cli.headless import train_headless

    if not no_ui:
        print("eetui: no terminal for the console, so training headless (--no-ui)", file=sys.stderr)
    raise typer.Exit(train_headless(request, db, as_json=as_json))


@app.command()
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Numbers, names, unique prefixes, or report:METHOD. [default: the latest experiment]"),
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table, md, csv or json.")] = "table",
    only_changed: Annotated[bool, typer.Option("--only-changed", help="Leave out rows in which all agree.")] = False,
    each_seed: Annotated[bool, typer.Option("--each-seed", help="Do not join runs that differ in seed only.")] = False,
    baseline: Annotated[
        str | None, typer.Option(metavar="RUN", help="A run to hold the others against; it joins them if it must.")
    ] = None,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Print runs side by side: results, training, differing config, and which to take."""
    from eetui.compare import tables_text as rendered
    from eetui.compare.comparison import compare as compare_runs

    texts = {"md": rendered.as_markdown, "csv": rendered.as_csv, "json": rendered.as_json}
    output = "json" if as_json else output
    if output not in ("table", *texts):
        raise UsageError(f"--format must be one of table, {', '.join(texts)}, got {output!r}")
    views = _views(runs or [], db)
    base = _views([baseline], db)[0] if baseline else None
    if base is not None and base.name not in [view.name for view in views]:
        views.insert(0, base)
    result = compare_runs(
        views, group_seeds=not each_seed, only_changed=only_changed, baseline=base.name if base else None
    )
    if output in texts:
        print(texts[output](result))
    else:
        console().print(rendered.as_tables(result))


def _views(references: "Sequence[str]", db: Path) -> "list[RunView]":
    """The runs to compare; the database is opened only if one of them is in it."""
    from core.store.reader import Reader
    from eetui.compare.report_runs import PREFIX, report_names, report_view
    from eetui.compare.run_view import stored_view

    views: dict[str, RunView] = {}
    reader: Reader | None = None
    try:
        stored = not references or any(not reference.startswith(PREFIX) for reference in references)
        reader = Reader(db) if stored else None
        for reference in references or (str(number) for number in reader.latest_experiment()) if reader else references:
            view = report_view(reference)
            if view is None and (reader is None or reference.startswith(PREFIX)):
                raise UsageError(f"there is no {reference!r}: the report's columns are {', '.join(report_names())}")
            if view is None and reader is not None:
                view = stored_view(reader, reader.find(reference))
            assert view is not None
            views[view.name] = view
    finally:
        if reader is not None:
            reader.__exit__()
    return list(views.values())


@app.command("ls")
def list_runs(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]...", help="method:loss 'ppl<900' tag:x status:failed text")
    ] = None,
    sort: Annotated[str, typer.Option(help="Column to sort by, such as ppl, savings, created.")] = "id",
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="Largest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most runs to list.")] = 1_000_000,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """List runs."""
    from dataclasses import replace

    from core.store.reader import Reader
    from eetui.runs.filters import parse
    from eetui.runs.list_text import SHOWN, runs_json, runs_lines

    query = replace(parse(words or [], sort, descending=reverse), limit=limit)
    with Reader(db) as reader:
        rows = reader.runs(query) if as_json else reader.runs(query, SHOWN)
    if as_json:
        print(runs_json(rows))
    else:
        width, colour = output_shape()
        print("\n".join(runs_lines(rows, width, colour=colour)))


@app.command()
def show(
    reference: Annotated[str, typer.Argument(metavar="RUN", help="Number, name or unique prefix.")],
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Show one run: results, stages, config, and what it takes to make it again."""
    from core.store.reader import Reader
    from eetui.summary.details_text import run_details, run_json

    with Reader(db) as reader:
        number = reader.find(reference)
        row, state = reader.run(number), reader.state(number)
    if as_json:
        print(run_json(row, state))
    else:
        console().print(run_details(row, state))


@app.command("rm")
def remove(
    references: Annotated[list[str], typer.Argument(metavar="RUN...", help="Numbers, names or unique prefixes.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    *,
    db: Database,
) -> None:
    """Delete runs with their events and results."""
    from core.store.reader import Reader
    from core.store.writer import Writer

    with Reader(db) as reader:
        rows = [reader.run(number) for number in dict.fromkeys(reader.find(reference) for reference in references)]
    with Writer(db) as writer:  # opening it closes the books of runs whose process is gone
        with Reader(db) as reader:
            busy = [row["name"] for row in rows if reader.run(row["id"])["status"] in ("queued", "running")]
        if busy:
            raise UsageError(f"{', '.join(busy)} is still running: stop it first, then delete it")
        names = ", ".join(f"{row['name']} (run {row['id']})" for row in rows)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"deleting {names} can't be undone: confirm with --yes")
            typer.confirm(f"Delete {names}?", abort=True, err=True)
        for row in rows:
            writer.delete(row["id"])
    print(f"deleted {names}", file=sys.stderr)


if __name__ == "__main__":
    main()
