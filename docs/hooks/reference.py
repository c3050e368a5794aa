"""Pages made when the site is built: the CLI reference, the Python reference, and the changelog.

`mkdocs.yml` names this file as a hook. None of these pages is committed, so none can be out of date.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SPECIAL = re.compile(r"([\\`*_{}\[\]|])")
OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./[^)]*\)")
"""A link to a file of the repository that is no page."""


def on_files(files: Any, *, config: Any) -> Any:
    """Add the generated pages to those of the folder."""
    from mkdocs.structure.files import File

    pages = {
        "cli-reference.md": cli_reference(),
        "python-reference.md": python_reference(),
        "changelog.md": changelog((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep the text alone of a link to a file outside the site, such as a benchmark's results."""
    return OUTSIDE.sub(r"\1", markdown)


def changelog(text: str) -> str:
    """Return the changelog with its links seen from the folder of the pages."""
    return text.replace("](docs/", "](")


def python_reference() -> str:
    """Return the page of all public names of the package, for mkdocstrings to fill in."""
    import eetui

    names = [name for name in eetui.__all__ if not name.startswith("_")]
    head = "# Python reference\n\nEvery name of `import eetui`. [From Python](python.md) shows them at work.\n"
    return "\n".join([head, *(f"::: eetui.{name}\n" for name in names)])


def cli_reference() -> str:
    """Return the page of all commands, then all values of a config, then what each preset sets."""
    from typer.main import get_command

    from eetui.cli.main import app

    head = (
        "# CLI reference\n\n`eetui COMMAND --help` prints the same. Every command takes `-h` and `--help`. "
        "Most have an example in [Running experiments](running.md).\n"
    )
    return "\n".join([head, *_command("eetui", get_command(app), None), *_config_values(), *_presets()])


def _command(name: str, command: Any, parent: Any) -> Iterator[str]:
    """Yield a command's section, then those of its subcommands."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"## {context.command_path}\n\n{_text(command.help or '')}\n\n```\n{usage}\n```\n"
    shown = [parameter for parameter in command.get_params(context) if parameter.name != "help"]
    records = [record for parameter in shown if (record := parameter.get_help_record(context))]
    if records:
        yield _table(("argument or option", "meaning"), [(f"`{words}`", _text(meaning)) for words, meaning in records])
    if hasattr(command, "list_commands"):
        for word in command.list_commands(context):
            yield from _command(word, command.get_command(context, word), context)


def _config_values() -> Iterator[str]:
    """Yield the table of every value of a config."""
    from eetui.cli.train import config_values

    yield "## Config values\n\nFor `--set`, `--config` and `eetui.train`; the defaults are those of preset `sound`.\n"
    rows = [(f"`{name}`", f"`{_value(default)}`", _text(text)) for name, text, default in config_values()]
    yield _table(("value", "default", "meaning"), rows)


def _presets() -> Iterator[str]:
    """Yield the table of what each preset sets otherwise than the default one."""
    from core.config.run_config import DEFAULT_PRESET, preset_names

    yield f"## Presets\n\nWhat each sets otherwise than `{DEFAULT_PRESET}`.\n"
    defaults = _preset_values(DEFAULT_PRESET)
    rows = []
    for preset in preset_names():
        changes = [
            f"`{name}={_value(value)}`" for name, value in _preset_values(preset).items() if value != defaults[name]
        ]
        rows.append((f"`{preset}`", " ".join(changes) or "the defaults"))
    yield _table(("preset", "sets"), rows)


def _preset_values(preset: str) -> dict[str, Any]:
    from core.config.dotted_names import flatten
    from core.config.run_config import build, preset_layer

    return flatten(build([preset_layer(preset)]).model_dump())


def _value(value: object) -> str:
    """Write a value as `--set` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _text(text: str) -> str:
    """Return plain text as Markdown that shows it as it is, on one line."""
    return SPECIAL.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))
