"""The documentation's site: its generated pages hold what the program has, and no page is left out."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import eetui
from core.config.run_config import preset_names
from docs.hooks import reference
from eetui.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = {path.name for path in (ROOT / "docs").glob("*.md")}


def commands(command: Any, name: str = "eetui") -> dict[str, Any]:
    inner = getattr(command, "commands", {})
    return {name: command} | {
        path: each for word in inner for path, each in commands(inner[word], f"{name} {word}").items()
    }


def test_the_cli_reference_has_every_command_with_its_options() -> None:
    page = reference.cli_reference()
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    for name, command in commands(get_command(app)).items():
        shown = [each for each in command.params if not getattr(each, "hidden", False)]
        options = {option for each in shown for option in each.opts if option.startswith("-")}
        assert options <= set(re.findall(r"-[\w-]+", sections[name])), name
    assert "| `train.lr` | `0.003` |" in sections["Config values"]
    assert "`model.block_layers=2,2,2,2`" in sections["Presets"]
    assert page == reference.cli_reference()


def test_hidden_options_are_not_in_the_cli_reference() -> None:
    assert "--with-parent" not in reference.cli_reference()


def test_the_python_reference_has_every_public_name() -> None:
    named = re.findall(r"^::: eetui\.(\w+)$", reference.python_reference(), re.MULTILINE)
    assert named == [name for name in eetui.__all__ if name != "__version__"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("in [results](../benchmarks/results/README.md).", "in results."),
        ("see [exits](exits.md#the-contract)", "see [exits](exits.md#the-contract)"),
    ],
)
def test_links_out_of_the_site_keep_their_text_alone(written: str, shown: str) -> None:
    assert reference.on_page_markdown(written) == shown


def test_the_changelog_links_to_the_pages_beside_it() -> None:
    assert (
        reference.changelog("([numbers](docs/numbers.md#groups-of-runs))") == "([numbers](numbers.md#groups-of-runs))"
    )


def test_the_readme_and_the_site_list_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[.+?\]\(docs/(.+?\.md)\) \|", readme, re.MULTILINE)) == PAGES - {"index.md"}
    generated = {"cli-reference.md", "python-reference.md", "changelog.md"}
    assert set(re.findall(r"^ +- .+: (\S+\.md)$", navigation, re.MULTILINE)) == PAGES | generated


def test_the_table_of_presets_has_all_of_them() -> None:
    running = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    table = running.partition("| preset | description |\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(preset_names())
