"""Least squares from sums: the solution that numpy finds, and the nearest of a low rank."""

import numpy as np
import pytest
import torch
from torch import Tensor

from core.stages.least_squares import LeastSquares, inverse_length, with_constant

RIDGE = 1e-12


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def added_up(inputs: Tensor, outputs: Tensor, weight: Tensor) -> LeastSquares:
    fit = LeastSquares()
    for part in (slice(0, 70), slice(70, None)):
        fit.add(with_constant(inputs[part]) * weight[part], outputs[part] * weight[part])
    return fit


def test_the_map_is_that_of_weighted_least_squares() -> None:
    inputs, outputs, weight = drawn(200, 5, seed=1), drawn(200, 3, seed=2), drawn(200, 1, seed=3).abs()
    rows = torch.cat((inputs, torch.ones(200, 1)), 1) * weight
    expected = np.linalg.lstsq(rows.numpy(), (outputs * weight).numpy(), rcond=None)[0]
    found = added_up(inputs, outputs, weight).solve(RIDGE)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-8, rtol=1e-8)


def test_a_map_of_low_rank_is_found_exactly_and_a_nearest_one_otherwise() -> None:
    inputs, noise = drawn(300, 6, seed=4), drawn(300, 4, seed=5)
    outputs = inputs @ drawn(6, 2, seed=6) @ drawn(2, 4, seed=7)
    weight = torch.ones(300, 1, dtype=torch.float64)
    down, up, constant = added_up(inputs, outputs, weight).solve_in(2, RIDGE)
    assert (down.shape, up.shape, constant.shape) == ((2, 6), (4, 2), (4,))
    torch.testing.assert_close(inputs @ down.T @ up.T + constant, outputs, atol=1e-8, rtol=1e-8)

    def error(rank: int) -> float:
        down, up, constant = added_up(inputs, outputs + noise, weight).solve_in(rank, RIDGE)
        return float((inputs @ down.T @ up.T + constant - outputs - noise).square().sum())

    whole = added_up(inputs, outputs + noise, weight).solve(RIDGE)
    fitted = torch.cat((inputs, weight), 1) @ whole  # the nearest of a rank drops its smallest singular values
    dropped = torch.linalg.svdvals(fitted).square()
    assert error(4) < error(2) < error(1)
    for rank in (1, 2):
        assert error(rank) == pytest.approx(error(4) + float(dropped[rank:].sum()), rel=1e-6)


def test_rows_have_the_length_of_their_root_mean_square() -> None:
    rows = torch.tensor([[3.0, -3.0], [0.0, 0.0]])
    assert inverse_length(rows)[0] == pytest.approx(1 / 3)
    assert torch.isfinite(inverse_length(rows)).all()
