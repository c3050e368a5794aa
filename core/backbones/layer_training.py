"""How the layers of a pretrained model run: as they are, or while they are trained, with layer dropout.

Shapes: B windows, T tokens of a window, D model width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor


class LayerTraining:
    """Whether the layers of a model are trained, in which dtype they compute meanwhile, and which are dropped now.

    Attributes:
        learns: whether gradients go through the layers.
        dtype: dtype of their matrix products while they learn; their weights are float32.
    """

    def __init__(self, learns: bool = False, dtype: torch.dtype = torch.float32) -> None:
        self.learns, self.dtype = learns, dtype
        self._rates: Sequence[float] = ()
        self._generator: torch.Generator | None = None
        self._rows: tuple[int, slice] | None = None

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Context in which layers run: gradients are recorded if they learn, and matrix products have their dtype."""
        mixed = self.learns and self.dtype != torch.float32
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and self.learns),
            torch.autocast(device.type, self.dtype) if mixed else nullcontext(),
        ):
            yield

    @contextmanager
    def dropping(
        self, rates: Sequence[float], generator: torch.Generator, rows: tuple[int, slice] | None
    ) -> Iterator[None]:
        """Context in which windows skip layers; arguments as in `PretrainedModel.dropping_layers`."""
        self._rates, self._generator, self._rows = rates, generator, rows
        try:
            yield
        finally:
            self._rates, self._generator, self._rows = (), None, None

    def run(self, number: int, states: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
        """Run a layer on the windows that don't skip it, `[B, T, D]` to `[B, T, D]`; the others keep their states.

        What a layer adds is not scaled up for being dropped at times: x + M(p) f(x), as in LayerSkip's equation 1.
        """
        kept = self._kept(number, states)
        if kept is None or len(kept) == len(states):
            return layer(states)
        if not len(kept):
            return states
        return states.index_copy(0, kept, layer(states[kept]).to(states.dtype))

    def _kept(self, number: int, states: Tensor) -> Tensor | None:
        """Draw the numbers of the windows that run a layer; on the CPU, so that a seed means the same everywhere."""
        if self._generator is None or not self._rates[number]:
            return None
        total, own = self._rows or (len(states), slice(None))
        drawn = torch.rand(total, generator=self._generator)[own]
        return (drawn >= self._rates[number]).nonzero()[:, 0].to(states.device)
