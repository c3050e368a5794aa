"""The divergence of two heads, chunk by chunk, against torch's own on whole matrices."""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.head.divergence import CHUNK, linear_divergence

TOKENS, DIM, WORDS = CHUNK + 37, 6, 23


def values(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(hidden: Tensor, weight: Tensor, teacher: Tensor, teacher_weight: Tensor) -> Tensor:
    said, wanted = F.log_softmax(hidden @ weight.T, 1), F.log_softmax(teacher @ teacher_weight.T, 1)
    return F.kl_div(said, wanted, reduction="none", log_target=True).sum(1)


def test_loss_and_gradients_are_torch_s() -> None:
    hidden, weight = values(1, TOKENS, DIM).requires_grad_(), values(2, WORDS, DIM).requires_grad_()
    teacher, teacher_weight = values(3, TOKENS, DIM + 1), values(4, WORDS, DIM + 1)
    expected = plain(hidden, weight, teacher, teacher_weight)
    gradients = torch.autograd.grad(3 * expected.sum(), (hidden, weight))
    total, each = linear_divergence(hidden, weight, teacher, teacher_weight)
    torch.testing.assert_close(each, expected.detach())
    torch.testing.assert_close(total, expected.sum())
    for found, wanted in zip(torch.autograd.grad(3 * total, (hidden, weight)), gradients, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_head_that_is_not_trained_gets_no_gradient() -> None:
    hidden, weight = values(1, 5, DIM).requires_grad_(), values(2, WORDS, DIM)
    total, each = linear_divergence(hidden, weight, hidden.detach(), weight)
    total.backward()
    assert each.abs().max() < 1e-12
    assert hidden.grad is not None
    assert hidden.grad.abs().max() < 1e-12
    assert weight.grad is None
