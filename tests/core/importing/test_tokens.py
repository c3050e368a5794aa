"""Arrays of a file: what is wrong is named with its place, and what is left out is worked out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.errors import UsageError
from core.importing.tokens import imported_tokens

Arrays = dict[str, Any]


def arrays(windows: int = 6, seq_len: int = 4) -> Arrays:
    """Three exits that know more and more of five tokens."""
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 5, (windows, seq_len))
    loss = draw.random((3, windows, seq_len)).astype(np.float32) * np.array([1.5, 1.0, 0.5], np.float32)[:, None, None]
    max_prob, prediction = np.exp(-loss), np.broadcast_to(targets, loss.shape).copy()
    return {"loss": loss, "max_prob": max_prob, "prediction": prediction, "targets": targets}


def at(name: str, index: tuple[int, ...], value: float) -> Callable[[Arrays], None]:
    def change(found: Arrays) -> None:
        found[name][index] = value

    return change


def put(**values: Any) -> Callable[[Arrays], None]:
    return lambda found: found.update({name: np.array(value) for name, value in values.items()})


def as_type(name: str, dtype: str) -> Callable[[Arrays], None]:
    return lambda found: found.update({name: found[name].astype(dtype)})


WRONG: dict[str, Callable[[Arrays], Any]] = {
    r"missing: loss \(cross-entropy of each target in nats, at each exit\)": lambda found: found.pop("loss"),
    r"loss\[1, 2, 3\] \(exit 1, token 11: window 2, place 3\) is nan: it must be a number": at(
        "loss", (1, 2, 3), np.nan
    ),
    r"loss\[0, 0, 1\] \(exit 0, token 1: .* is -1.0: a cross-entropy is 0 or above": at("loss", (0, 0, 1), -1),
    r"max_prob\[2, 5, 0\] .* is 1.5: it must lie between 0 and 1": at("max_prob", (2, 5, 0), 1.5),
    r"targets\[0, 2\] \(token 2: window 0, place 2\) is -100: .* what is no target": at("targets", (0, 2), -100),
    r"loss has dtype int64: it must be floating point": as_type("loss", "int64"),
    r"prediction has dtype float64: token ids are integers": as_type("prediction", "float64"),
    r"targets has shape \[24, 1\]: it must be \[6, 4\], as loss has it": lambda found: found.update(
        targets=found["targets"].reshape(24, 1)
    ),
    r"signal has shape \[3, 6, 4\]: it must be \[2, 6, 4\], for every exit but the last": lambda found: found.update(
        signal=found["max_prob"]
    ),
    r"costs\[2\] is 2, not above costs\[1\] = 2: .* rises from exit to exit": put(costs=[1, 2, 2]),
    r"costs has shape \[2\]: it must be \[3\]": put(costs=[1.0, 2.0]),
    r"signal_costs are in the unit of costs, which are missing": put(signal_costs=[1, 2]),
    r"layers\[1\] is 0.0: it must be the number of layers": put(layers=[1, 0, 1]),
    r"thresholds\[0\] is nan": put(thresholds=[np.nan, 0.5]),
    r"claims must be one of rank, .* got 'gain'": put(claims="gain"),
    r"calibration is true for every window": put(calibration=[True] * 6),
    r"prediction\[0, .* is 4: vocabulary ends before it, at 4": put(vocabulary=list("abcd")),
    r"method must be a short name": put(method="no name/at all"),
    r"the tokens of a window are 4 by the shape of loss, 2 by seq_len": put(seq_len=2),
    r"the tokens of a window are 4 by the shape of loss, 3 by window": put(window=np.arange(24) // 3),
    r"loss is there twice, once as cross_entropy": put(cross_entropy=[[[1.0]]]),
    r"loss has shape \[3, 0\]: there is not one token": put(loss=np.zeros((3, 0))),
    r"loss\[0, 0, 0\] .* is 1e\+39: it must be a number": put(loss=np.full((3, 6, 4), 1e39)),
    r"targets\[0, 0\] .* is 2000000000: ids are below": at("targets", (0, 0), 2_000_000_000),
    r"vocab_size must be one whole number from 1 to": put(vocab_size=2_000_000_000),
    r"costs has dtype complex128": put(costs=[1j, 2, 3]),
    r"calibration\[2\] is 2: it must be true": put(calibration=[0, 1, 2, 3, 4, 5]),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named_with_its_place(message: str) -> None:
    found = arrays()
    WRONG[message](found)
    with pytest.raises(UsageError, match=message):
        imported_tokens(found)


def test_what_is_left_out_is_worked_out() -> None:
    found = imported_tokens(arrays())
    assert (found.signal == found.max_prob[:-1]).all()
    assert (found.claims, found.method) == ("correct", "max_prob"), "as softmax is judged"
    assert (found.layers, found.costs, found.has_costs) == ((1, 1, 1), (1.0, 2.0, 3.0), False)
    assert found.vocabulary[:2] == ["#0", "#1"]
    assert not found.notes


def test_tokens_in_a_row_are_cut_into_windows() -> None:
    there = arrays()
    row = {name: values.reshape(*values.shape[:-2], -1) for name, values in there.items()}
    with pytest.raises(UsageError, match="say how many tokens"):
        imported_tokens(row)
    with pytest.raises(UsageError, match=r"24 tokens, which are no windows of seq_len = 5: leave the last 4 out"):
        imported_tokens(row, {"seq_len": 5})
    assert (imported_tokens(row, {"seq_len": 4}).loss == there["loss"]).all()
    numbered = row | {"window": np.repeat(np.arange(6), 4)}
    assert (imported_tokens(numbered).targets == there["targets"]).all()
    numbered["window"][4:8] = [1, 1, 1, 2]
    with pytest.raises(UsageError, match=r"window 1 has 3 tokens \(from row 4\), and the first 4"):
        imported_tokens(numbered)


def test_losses_in_bits_are_doubted() -> None:
    found = arrays()
    found["loss"] = found["loss"] / np.log(2).astype(np.float32)
    (note,) = imported_tokens(found).notes
    assert "are losses in nats" in note


def test_half_a_surrogate_pair_is_no_text() -> None:
    found = arrays() | {"vocabulary": np.array(["a", "\udc80", "\ud83d\ude00", "c", "d"])}
    assert imported_tokens(found).vocabulary == ["a", "\N{REPLACEMENT CHARACTER}", "\N{GRINNING FACE}", "c", "d"]
