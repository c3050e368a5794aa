"""The command for tasks of lm-evaluation-harness, where that is missing, and the table of its results."""

import sys

import pytest

from core.errors import ConfigError
from eetui.cli.harness import _harness, results_table
from tests.eetui.plain_text import plain_words


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"tasks need the package lm-eval .*: pip install 'eetui\[lm-eval\]'"):
        _harness(None, ["mine"])


def test_results_have_a_column_for_each_exit() -> None:
    found = {
        name: {"tasks": {"mine": {"acc": accuracy}}, "layers_saved": saved}
        for name, accuracy, saved in (("early", 0.25, 0.4), ("1", 0.125, 0.5), ("all", 0.5, 0.0))
    }
    shown = plain_words(results_table(found))
    assert "Task Metric early exit block 1 all blocks" in shown
    assert "mine acc 0.2500 0.1250 0.5000" in shown
    assert "all layers saved 40.0% 50.0% 0.0%" in shown
