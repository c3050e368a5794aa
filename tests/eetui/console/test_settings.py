"""The settings file: its values apply, and invalid ones are refused with their place."""

from pathlib import Path

import pytest

from core.errors import ConfigError
from eetui.console.settings import Settings, load_settings, settings_path


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("EETUI_CONFIG", str(path))
    return path


def test_without_a_file_the_defaults_hold(file: Path) -> None:
    assert load_settings() == Settings()


def test_every_setting_is_read(file: Path) -> None:
    file.write_text(
        'db = "~/x.db"\ntheme = "eetui-light"\nbell = false\non_end = "say done"\n'
        'mirror = ["tensorboard:logs"]\n[keys]\n"runs.mark" = "m"\n'
    )

    settings = load_settings()

    assert settings == Settings(
        Path.home() / "x.db",
        "eetui-light",
        False,
        {"runs.mark": "m"},
        file,
        on_end="say done",
        mirror=("tensorboard:logs",),
    )


def test_without_the_variable_the_file_is_in_the_users_config_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EETUI_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")

    assert settings_path() == Path("/elsewhere/eetui/config.toml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("colour = 1", "'colour' must be one of db, theme, bell, on_end, keys, mirror, kib_per_second"),
        ("on_end = 'say \"done'", "on_end can't be split into words (No closing quotation)"),
        ("mirror = [1]", "mirror must be a list of texts TRACKER:DIR, got 1"),
        ("bell = 1", "bell must be of type bool, got 1"),
        ("kib_per_second = 0", "kib_per_second must be above 0, got 0"),
        ('kib_per_second = "4"', "kib_per_second must be of type number, got '4'"),
        ("[keys]\nx = 3", "keys.x must be a key"),
        ("db = ", "is not valid TOML"),
    ],
)
def test_what_it_cannot_say_is_refused_with_the_file_named(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)

    with pytest.raises(ConfigError, match="settings file") as error:
        load_settings()

    assert complaint in str(error.value)
    assert str(file) in str(error.value)
