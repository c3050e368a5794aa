"""Odd and huge values: each is refused with a short message, at once, and none ends in another error."""

from pathlib import Path

import pytest

from core.config.run_config import Layer, build, fields, file_layer, preset_layer, set_layer
from core.config.toml_file import MOST_BYTES
from core.errors import ConfigError, EetuiError

ODD = (10**30, -(10**30), 2**63, 1e308, 1e-320, "9" * 5000, "\ud800", "\0", b"a", [[]], {"a": 1}, None, [1] * 9999)


@pytest.mark.parametrize("name", fields())
def test_an_odd_value_is_taken_or_refused_in_few_words(name: str) -> None:
    for value in ODD:
        said = ""
        try:
            build([preset_layer("quick"), Layer("a test", {name: value})])
        except EetuiError as error:
            said = str(error)
        assert len(said) < 1000


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("block_layers=1000000000", "model.block_layers must be <= 1000, got 1000000000 (from"),
        ("block_layers=" + "1," * 300, "model.block_layers must have at most 256 items, got (1, 1,"),
        ("dim=8000000", "model.dim must be <= 1000000, got 8000000 (from"),
        ("num_samples=99999999999999999999", "data.num_samples must be <= 2147483647, got 99999999999999999999 (from"),
        ("seq_len=2147483648", "data.seq_len must be <= 2147483647, got 2147483648 (from"),
        ("batch_size=1e30", "train.batch_size must be a valid integer, got 1e+30 (from"),
    ],
)
def test_sizes_have_bounds(assignment: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build([preset_layer("quick"), set_layer(assignment)])
    assert str(refused.value).startswith(reason)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 500, "[" * 500 + "]" * 500, "{a=" * 500, "'" * 9999, "\x1b[31m"])
def test_a_value_that_no_parser_takes_is_a_text(value: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.lr must be a valid number, got ") as refused:
        build([preset_layer("quick"), set_layer(f"lr={value}")])
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"lr = {'[' * 5000}", "too many brackets in brackets|not valid TOML"),
        (f"seed = {'9' * 5000}", "digits"),
        ("x = 1\n" * (MOST_BYTES // 6 + 1), "larger than 1,000,000 bytes"),
        ("\xff", "utf-8"),
    ],
)
def test_a_config_file_that_no_parser_takes_is_refused(content: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=reason):
        file_layer(file)


@pytest.mark.parametrize("endless", ["/dev/zero"])
def test_a_file_without_an_end_is_not_read_to_it(endless: str) -> None:
    with pytest.raises(ConfigError, match="larger than"):
        file_layer(Path(endless))
    with pytest.raises(ConfigError, match=r"method must be a file of Python, at most 10,000,000 bytes"):
        build([preset_layer("quick"), set_layer(f"method={endless}")])
