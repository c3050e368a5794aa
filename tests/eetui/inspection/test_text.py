"""Figures of Inspect in words."""

import numpy as np
import pytest
import torch

from core.analysis.what_if import Leavers, Outcome
from core.config.run_config import ModelConfig, RunConfig
from core.evaluation.passes import Pass, measured
from eetui.drawing.cells import columns
from eetui.drawing.themes import hue
from eetui.inspection.text import NEEDED, honesty, legend


@pytest.mark.parametrize("exited_state", ["copy", "deferred"])
def test_deferred_layers_are_not_called_saved_without_a_word(exited_state: str) -> None:
    own = RunConfig(model=ModelConfig(dim=8, num_heads=2, ffn_dim=16, block_layers=(1, 1)))
    config = own.model_copy(update={"exit": own.exit.model_copy(update={"exited_state": exited_state})})
    result = Pass(torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool), torch.tensor([[0, 1, 0]]))
    outcome = Outcome(np.array([0, 1, 0]), (Leavers(2, 0, 2, 0, 2), Leavers(1, 0, 1, 0, 1)), (1, 1))
    said = honesty(outcome, measured("evaluation", "early exit", result, config))
    assert (NEEDED in said) == (exited_state == "deferred")


def test_columns_between_give_way_before_the_last_ones() -> None:
    heads = ["", "now", "block 0", "block 1", "block 2", "all blocks", "oracle"]
    lines = [heads, ["PPL", *("12.34" for _ in heads[1:])]]
    shown = [columns(lines, width, give_way=(3, 4)).plain.splitlines()[0].split("  ") for width in (80, 55, 47, 30)]
    found = [[word.strip() for word in words if word.strip()] for words in shown]
    assert found[0] == heads[1:]
    assert found[1] == ["now", "block 0", "block 1", "all blocks", "oracle"]
    assert found[2] == ["now", "block 0", "all blocks", "oracle"]
    assert found[3] == ["now", "block 0"]


@pytest.mark.parametrize("blocks", [2, 5, 6, 11])
def test_the_legend_names_every_block_on_a_line_of_78_cells(blocks: int) -> None:
    found = legend(blocks, 78, dark=True)
    assert found.cell_len <= 78
    for block in range(blocks):
        assert f"{hue(block).sign} {block} " in found.plain
    assert ("underlined" in found.plain) == (blocks == 2)


def test_a_legend_of_too_many_blocks_ends_with_dots() -> None:
    found = legend(30, 78, dark=True).plain
    assert len(found) <= 78
    assert found.startswith("block ● 0  ▲ 1  ")
    assert found.endswith("✚ 10  …  bold: right")
