"""What a sweep varies, refused before anything starts where it can't be meant."""

from typing import Any

import pytest

from core.config.run_config import Layer
from core.errors import UsageError
from core.sweeps.spec import Spec, grid, spec_from
from core.sweeps.values import read_axis

BASE = Layer("test", {"seed": 7, "exit.hard_ratio": 0.4})


def spec(*axes: tuple[str, str], methods: tuple[str, ...] = (), seeds: int = 1, search: Any = None) -> Spec:
    return spec_from([BASE], [read_axis(*axis) for axis in axes], methods, seeds, search=search)


def test_a_grid_is_every_combination_with_every_seed() -> None:
    found = grid(spec(("hard_ratio", "0.3,0.5"), methods=("loss", "softmax"), seeds=2))
    assert [(run.seed, run.method, run.exit.hard_ratio) for _, run in found] == [
        (seed, method, ratio) for seed in (7, 8) for method in ("loss", "softmax") for ratio in (0.3, 0.5)
    ]
    assert [setting.point for setting, _ in found] == [0, 1, 2, 3] * 2
    assert found[1][0].values == {"method": "loss", "exit.hard_ratio": 0.5}


def test_a_sweep_is_the_same_from_its_stored_values() -> None:
    made = spec(("block_layers", "[1,1],[2,2]"), methods=("loss", "softmax"), seeds=3)
    again = Spec.from_plain(made.as_plain())
    assert [run for _, run in grid(again)] == [run for _, run in grid(made)]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([("hard_ration", "0.3,0.5")], "unknown config key 'hard_ration'.*did you mean exit.hard_ratio"),
        ([("hard_ratio", "0.3,0.5"), ("exit.hard_ratio", "0.1,0.2")], "exit.hard_ratio is given twice"),
        ([("seed", "1,2")], "seeds are varied by --seeds"),
        ([("block_layers", "2,2")], r"in brackets: \[2,2\]"),
        ([("hard_ratio", "0.3..0.5")], "a grid needs the step of a range"),
        ([("hard_ratio", "0.3,0.30")], "two runs of the sweep are the same"),
        ([("hard_ratio", "0.3,1.5")], "must be < 1.*from --set exit.hard_ratio=1.5"),
        ([("lr", "1..1e6:1"), ("patience", "1..1000:1")], r"1,000,000,000 runs \(1,000,000 × 1,000\)"),
        ([("lr", "1..1e20:1")], "these are 100,000,000,000,000,000,000 runs"),
    ],
)
def test_what_can_not_be_meant_is_refused(axes: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        grid(spec(*axes))
