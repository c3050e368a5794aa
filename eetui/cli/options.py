"""Options shared by commands, the config layers made of them, and the console for output."""

import os
import shlex
import shutil
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from core.errors import UsageError
from core.generators import Returning
from eetui.cli.choices import TRACKERS, listed
from eetui.cli.completing import config_keys
from eetui.drawing.harmless import harmless

if TYPE_CHECKING:
    from core.config.run_config import Layer
    from core.store.reader import Reader
    from eetui.trackers.contract import Trackers

Result = TypeVar("Result")


def _default_database() -> Path:
    from eetui.console.settings import load_settings

    return load_settings().db or Path("runs.db")


Database = Annotated[
    Path,
    typer.Option(
        "--db",
        envvar="EETUI_DB",
        help="The database of runs.",
        default_factory=_default_database,
        show_default="runs.db, or the settings file's",
        dir_okay=False,
    ),
]


def on_database(db: Path) -> str:
    """Return what a command that is named to be typed next needs behind it: ` --db FILE`, or nothing by default."""
    return "" if db.absolute() == _default_database().absolute() else f" --db {shlex.quote(str(db))}"


Reference = Annotated[str, typer.Argument(metavar="RUN", help="Number, name or unique prefix.")]
References = Annotated[list[str], typer.Argument(metavar="RUN...", help="Numbers, names or unique prefixes.")]
Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN|FILTER]...",
        help="Numbers, names, unique prefixes, or report:METHOD; or a filter as in ls, such as method:loss 'ppl<900'. "
        "[default: the latest experiment]",
    ),
]
EachSeed = Annotated[bool, typer.Option("--each-seed", help="Do not average runs that differ in seed only.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Tag, repeatable.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NoUi = Annotated[bool, typer.Option("--no-ui", help="Train headless, without the console.")]

MirrorTo = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="TRACKER:DIR",
        help=f"Tell a tracker of what is trained too, offline: {listed(TRACKERS)}; repeatable.",
        show_default="the settings file's",
    ),
]

ConfigFiles = Annotated[list[Path] | None, typer.Option("--config", help="TOML file of config values, repeatable.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="One config value, a.b=value, repeatable.", autocompletion=config_keys),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A pretrained model to put exits on: hf: and a folder, a GGUF file or a hub id[@REVISION]. [default: own]",
    ),
]
Corpus = Annotated[
    str | None,
    typer.Option("--corpus", help="A file, folder or glob, or a reader, such as hub:NAME or your own (--help-config)."),
]
EvalCorpus = Annotated[
    str | None, typer.Option("--eval-corpus", help="Text to evaluate on. [default: the corpus's tail]")
]
FirstSeed = Annotated[int | None, typer.Option("--seed", help="First seed.")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Number of consecutive seeds.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]


def trackers_of(texts: Sequence[str] | None) -> "Trackers":
    """Return the trackers of `--mirror`, or those of the settings file, each found to be installed.

    Raises:
        UsageError: one is not, or there is no such tracker.
        ConfigError: the settings file is not valid.
    """
    from eetui.console.settings import load_settings

    named = texts or load_settings().mirror
    if not named:
        return ()
    from eetui.trackers.live import parsed

    return parsed(named)


def chosen_preset(preset: str | None, model: str | None) -> str:
    """Return the preset of `--preset`, or the default one of the model."""
    from core.config.run_config import DEFAULT_PRESET, PRETRAINED_PRESET
    from core.pretrained.place import is_pretrained

    return preset or (PRETRAINED_PRESET if is_pretrained(model or "") else DEFAULT_PRESET)


def config_layers(
    preset: str,
    files: Sequence[Path] | None,
    assignments: Sequence[str] | None,
    *,
    corpus: str | None,
    eval_corpus: str | None,
    seed: int | None,
    device: str | None,
    model: str | None = None,
) -> "list[Layer]":
    """Return the layers of a config: preset, files, single values, then options such as `--seed`.

    Raises:
        ConfigError: there is no such preset, or a file or value can't be read.
    """
    from core.config.run_config import Layer, file_layer, preset_layer, set_layer

    flags = {
        "--model": ("model.source", model),
        "--corpus": ("data.corpus", corpus),
        "--eval-corpus": ("data.eval_corpus", eval_corpus),
        "--seed": ("seed", seed),
        "--device": ("machine.device", device),
    }
    return [
        preset_layer(preset),
        *(file_layer(path) for path in files or ()),
        *(set_layer(text) for text in assignments or ()),
        *(Layer(f"{flag} {value}", {key: value}) for flag, (key, value) in flags.items() if value is not None),
    ]


WIDTH_OFF_TERMINAL = 200


def output() -> Any:
    """Return a Rich console on standard output; off a terminal it has no colour and breaks no short line."""
    from eetui.cli.harmless_console import HarmlessConsole

    return HarmlessConsole(sys.stdout, width=None if sys.stdout.isatty() else WIDTH_OFF_TERMINAL)


def watched(work: Generator[str, None, Result]) -> Result:
    """Return what some work returns; on a terminal, standard error says meanwhile what it is doing."""
    running, shown = Returning(work), sys.stderr.isatty()
    for doing in running:
        if shown:
            print(f"\r\x1b[K{doing} …", end="", file=sys.stderr, flush=True)
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return running.result


def reading(db: Path, *, exact: bool) -> "Reader":
    """Open the database to read: the exact texts, for data, or those to show.

    Raises:
        StoreError: it can't be opened.
    """
    from core.store.reader import Reader
    from eetui.summary.shown_reader import ShownReader

    return Reader(db) if exact else ShownReader(db)


def print_data(text: str, end: str = "\n") -> None:
    """Print data for other programs: exactly, and on a terminal harmless."""
    print(harmless(text) if sys.stdout.isatty() else text, end=end)


def output_shape() -> tuple[int, bool]:
    """Return width and use of colour of standard output, for commands that do not wait for Rich."""
    if not sys.stdout.isatty():
        return WIDTH_OFF_TERMINAL, False
    return shutil.get_terminal_size().columns, not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_share(option: str, text: str | None) -> float | None:
    """Read a share: `1%` and `0.01` are 0.01, None is None.

    Raises:
        UsageError: it is not a number.
    """
    if text is None:
        return None
    number = text.strip().removesuffix("%")
    try:
        return float(number) * (0.01 if text.strip().endswith("%") else 1)
    except ValueError:
        raise UsageError(f"{option} takes a share such as 1% or 0.01, got {text!r}") from None
