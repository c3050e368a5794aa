"""Themes by file: they can be chosen, and what is no theme is refused with its file."""

from pathlib import Path

import pytest

from core.errors import ConfigError
from eetui.app import EetuiApp
from eetui.console.settings import load_settings
from eetui.console.theme_files import load_themes
from eetui.drawing.themes import THEMES


async def test_a_theme_of_a_file_is_chosen_by_name(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "themes").mkdir()
    (tmp_path / "themes" / "mine.toml").write_text('dark = false\nprimary = "#7AA2F7"\n')
    (tmp_path / "config.toml").write_text('theme = "mine"\n')
    monkeypatch.setenv("EETUI_CONFIG", str(tmp_path / "config.toml"))

    bench = EetuiApp(database, load_settings())

    async with bench.run_test():
        assert (bench.current_theme.name, bench.current_theme.dark) == ("mine", False)
        assert (bench.current_theme.primary, bench.current_theme.panel) == ("#7AA2F7", THEMES[1].panel)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("primary = 3", 'primary must be a colour such as "#7AA2F7", got 3'),
        ('primary = "blueish"', "got 'blueish'"),
        ('colour = "red"', "'colour' must be one of dark, primary"),
        ('dark = "yes"', "dark must be true or false, got 'yes'"),
        ("dark = ", "is not valid TOML"),
    ],
)
def test_what_is_no_theme_is_refused_with_its_file(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"theme file .*mine\.toml") as error:
        load_themes(tmp_path)
    assert complaint in str(error.value)
