"""Choose the next token from the model's logits.

Shapes: V vocabulary size.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UsageError

if TYPE_CHECKING:  # options are made and checked without torch
    import torch
    from torch import Tensor

    from core.config.run_config import RunConfig


@dataclass(frozen=True)
class GenerationOptions:
    """Options of a generation.

    Attributes:
        max_tokens: number of tokens to generate.
        temperature: divisor of the logits; 0 always takes the most probable token.
        top_k: number of most probable tokens to draw from; None: all.
        top_p: probability of the smallest set of most probable tokens to draw from (Holtzman et al. 2020, "nucleus
            sampling"), at least one token; applied after `top_k`.
        seed: seed of the draws.
        window: most tokens the model looks at; None: as many as it was trained on (`trained_window`). More is allowed
            up to `max_seq_len`, at untrained positions.
    """

    max_tokens: int = 60
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0
    window: int | None = None

    def check(self) -> None:
        """Refuse options out of range.

        Raises:
            UsageError: an option is out of range.
        """
        if self.max_tokens < 1:
            raise UsageError(f"--max-tokens must be at least 1, got {self.max_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"--temperature must be at least 0 (always the most probable), got {self.temperature:g}")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"--top-k must be at least 1, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"--top-p must be > 0 and at most 1, got {self.top_p:g}")


DEFAULTS = GenerationOptions()


def trained_window(config: "RunConfig") -> int:
    """Return how many tokens a model was trained to look at: a pretrained one its whole context, others a window."""
    return config.model.max_seq_len if config.model.pretrained else config.data.seq_len


def window_of(options: GenerationOptions, config: "RunConfig") -> int:
    """Return how many tokens a model looks at."""
    return trained_window(config) if options.window is None else options.window


def choose(logits: "Tensor", options: GenerationOptions, draw: "torch.Generator") -> int:
    """Choose a token by its logits `[V]`; drawn on the CPU, so that a seed means the same on every device."""
    import torch

    if options.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(distribution(logits, options), 1, generator=draw))


def distribution(logits: "Tensor", options: GenerationOptions) -> "Tensor":
    """Return the probabilities that tokens are drawn with, `[V]`, float64 on the CPU; needs a temperature above 0."""
    import torch

    likely = _likely(torch.softmax(logits.cpu().double() / options.temperature, 0), options)
    return likely / likely.sum()


def _likely(chances: "Tensor", options: GenerationOptions) -> "Tensor":
    """Set the probabilities of tokens that `top_k` and `top_p` exclude to 0, `[V]`."""
    import torch

    falling, order = chances.sort(descending=True, stable=True)
    kept = torch.arange(len(chances)) < (options.top_k or len(chances))
    falling = falling * kept
    before = falling.cumsum(0) - falling
    kept &= before < options.top_p * falling.sum()
    return torch.zeros_like(chances).index_copy_(0, order, falling * kept)
