"""From what was chosen to an experiment."""

import pytest

from core.config.run_config import (
    preset_layer,
)
from core.errors import ConfigError
from core.session.plan import plan_from, run_names


def test_names_on_the_command_line_are_called_as_there() -> None:
    with pytest.raises(ConfigError, match="--name must not be a number"):
        plan_from([preset_layer("quick")], ["loss"], name="7", sign="--")
    with pytest.raises(ConfigError, match="--tag must be one word"):
        plan_from([preset_layer("quick")], ["loss"], tags=["a b"], sign="--")
    assert run_names("x", plan_from([preset_layer("quick")], ["loss"]).configs) == ["x"]
