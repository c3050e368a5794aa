"""Least squares with a ridge, from sums over tokens that are never all in memory.

Shapes: n tokens, D inputs (a constant 1 is added to them), E outputs.
"""

import torch
from torch import Tensor


class LeastSquares:
    """Linear maps that predict some rows from others.

    The sums have dtype and device of the rows; systems are solved in float64 on the CPU.
    """

    def __init__(self) -> None:
        self._sums: tuple[Tensor, Tensor] | None = None  # [D + 1, D + 1], [D + 1, E]

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Add tokens: inputs with their constant, `[n, D + 1]`, and outputs, `[n, E]`, both times a token's weight."""
        new = inputs.T @ inputs, inputs.T @ outputs
        gram, cross = self._sums or (torch.zeros_like(each) for each in new)
        self._sums = gram + new[0], cross + new[1]

    def solve(self, ridge: float) -> Tensor:
        """Return the map, float64 `[D + 1, E]`; its last row is what the constant adds.

        Args:
            ridge: share of the mean variance of an input that is added to that of each.
        """
        gram, cross = self._double()
        gram.diagonal().add_(max(ridge * float(gram.diagonal()[:-1].mean()), torch.finfo(gram.dtype).tiny))
        found: Tensor = torch.linalg.solve(gram, cross)
        return found

    def solve_in(self, rank: int, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the map of that rank which is nearest in what it predicts (reduced-rank regression).

        Returns:
            `[rank, D]` and `[E, rank]`, to be applied one after the other, and the constant `[E]`; float64.
        """
        whole, (gram, _) = self.solve(ridge), self._double()
        outputs = torch.linalg.eigh(whole.T @ gram @ whole)[1][:, -rank:]  # [E, rank]
        reduced = whole @ outputs  # [D + 1, rank]
        return reduced[:-1].T, outputs, outputs @ reduced[-1]

    def _double(self) -> tuple[Tensor, Tensor]:
        assert self._sums is not None, "there are tokens"
        gram, cross = self._sums
        return gram.cpu().double().clone(), cross.cpu().double()


def with_constant(rows: Tensor) -> Tensor:
    """Return rows with a 1 behind each, `[n, D]` to `[n, D + 1]`."""
    return torch.cat((rows, torch.ones_like(rows[:, :1])), 1)


def inverse_length(rows: Tensor) -> Tensor:
    """Return 1 over the root mean square of each row, `[n, D]` to `[n, 1]`.

    As a weight it makes few tokens with huge states count as much as others, of which a norm sees the direction only.
    """
    return rows.square().mean(1, keepdim=True).clamp(min=1e-12).rsqrt()
