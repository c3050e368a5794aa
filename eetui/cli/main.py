"""The command line: its table of commands, its entry point, and its errors.

Modules that are slow to import are imported inside the command that needs them.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from core.errors import EetuiError, UsageError
from core.machine.interruptible import is_work_left
from eetui import __version__
from eetui.cli import (
    analyse,
    compare,
    deleting,
    doctor,
    export,
    generate,
    harness,
    importing,
    plot,
    probe,
    queue,
    report,
    runs,
    serving,
    speculate,
    sql,
    sweep,
    sweeps,
    tour,
    train,
)
from eetui.cli.on_cluster import with_ray_address
from eetui.cli.open_console import has_terminal, open_console
from eetui.cli.options import Database
from eetui.cli.streams import NobodyReadsError, lasting
from eetui.drawing.harmless import lines

COMMANDS: dict[str, Callable[..., None]] = {
    "quality": analyse.quality,
    "calibrate": analyse.calibrate,
    "diagnose": analyse.diagnose,
    "ablate": compare.ablate,
    "generate": generate.generate,
    "speculate": speculate.speculate,
    "probe": probe.probe,
    "run": train.run,
    "resume": train.resume,
    "work": queue.work,
    "compare": compare.compare,
    "plot": plot.plot,
    "report": report.report,
    "ls": runs.list_runs,
    "show": runs.show,
    "export": export.export,
    "sql": sql.sql,
    "import": importing.import_tokens,
    "lm-eval": harness.lm_eval,
    "rm": deleting.remove,
    "restore": deleting.restore,
    "doctor": doctor.doctor,
    "tour": tour.tour,
    "serve": serving.serve,
}
"""All commands, in the order of the help."""
SWEEP: dict[str, Callable[..., None]] = {
    "list": sweeps.list_all,
    "show": sweeps.show,
    "resume": sweeps.resume,
    "add-seeds": sweeps.add_seeds,
    "cancel": sweeps.cancel,
    "delete": sweeps.delete,
}
"""Commands of `eetui sweep`, which makes one without any of them."""
QUEUE: dict[str, Callable[..., None]] = {
    "add": queue.add,
    "list": queue.list_waiting,
    "move": queue.move,
    "drop": queue.drop,
}
"""Commands of `eetui queue`."""


class HarmlessGroup(TyperGroup):
    """The commands; complaints about the command line repeat its words harmless and shortened."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """Read the command line."""
        with _complaining():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _complaining():
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, in which the option `--ray` may be without its value."""
        return super().parse_args(ctx, with_ray_address(args))


@contextmanager
def _complaining() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str) and not isinstance(error, EetuiError):
            error.message = lines(message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=HarmlessGroup,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A lab bench in the terminal for early-exit language models.",
)
for name, command in COMMANDS.items():
    app.command(name)(command)


def _add_group(name: str, commands: Mapping[str, Callable[..., None]], **options: Any) -> typer.Typer:
    group = typer.Typer(**{"cls": HarmlessGroup, "pretty_exceptions_enable": False, **options})
    for word, command in commands.items():
        group.command(word)(command)
    app.add_typer(group, name=name)
    return group


_add_group("sweep", SWEEP, invoke_without_command=True).callback()(sweep.sweep)
_add_group("queue", QUEUE, no_args_is_help=True, help="Runs that wait in the database for eetui work.")


def main() -> None:
    """Entry point."""
    with lasting():
        _require_text(sys.argv[1:])
        try:
            app()
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        except SystemExit as leaving:
            if is_work_left():
                with suppress(NobodyReadsError):
                    sys.stdout.flush()
                os._exit(leaving.code if isinstance(leaving.code, int) else 1)
            raise


def _missing(error: ModuleNotFoundError) -> Exception:
    """Return what to say of a module that is missing: without torch, runs are read, and nothing else can be done."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines_ = [line for line in requires("eetui") or () if "extra ==" not in line]
    except PackageNotFoundError:
        return error
    packages = [found[0] for line in lines_ if (found := re.match(r"[\w.-]+", line))]
    needs = {package.replace("-", "_"): package for package in packages}
    package = needs.get(error.name or "")
    if package is None:
        return error
    return UsageError(f"this needs {package}, which is not installed here: pip install {package}")


def _require_text(arguments: Sequence[str]) -> None:
    """Refuse words that are no text: they could be neither stored nor searched for.

    Raises:
        UsageError: there is such a word.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{os.fsencode(argument)!r:.200} is no text in the encoding of this terminal, "
                f"{sys.getfilesystemencoding()}: write it in plain letters, rename the file, or set LC_ALL=C.UTF-8"
            ) from None


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
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Open a console that watches runs: it trains and changes nothing.")
    ] = False,
    *,
    db: Database,
) -> None:
    """Open the console if no command is given."""
    os.environ["EETUI_DB"] = str(db)  # default of the command's own --db
    if context.invoked_subcommand is None:
        if not has_terminal():
            raise UsageError("the console needs a terminal; eetui --help lists the commands that do without")
        raise typer.Exit(open_console(db, read_only=read_only))
    if read_only:
        raise UsageError(f"--read-only is for the console: leave out {context.invoked_subcommand}, or the option")
