"""States, a head and targets, and the plain loss of them."""

import torch
import torch.nn.functional as F
from torch import Tensor

DIM, WORDS = 8, 31


DIM, WORDS = 8, 31


def example(tokens: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, DIM, generator=draw, dtype=dtype) * 2
    weight = torch.randn(WORDS, DIM, generator=draw, dtype=dtype)
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(WORDS, (tokens,), generator=draw)


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), targets, reduction="sum")
