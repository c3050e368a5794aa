"""Divergence between two heads' distributions in chunks of tokens, without ever holding a batch's logits.

Shapes: N tokens, D model width, V vocabulary size; n tokens of a chunk.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK = 256
"""Tokens whose logits are held at once."""


def linear_divergence(hidden: Tensor, weight: Tensor, teacher: Tensor, teacher_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Compute KL(p ‖ q), p = softmax of the teacher, q = `softmax(hidden @ weight.T)`, summed and per token.

    Hinton et al. 2015, section 2, at temperature 1: its gradient in the logits is q − p.

    Args:
        hidden: states that the student's head reads, `[N, D]`.
        weight: the student's head, `[V, D]`; its gradient is skipped when it does not require one.
        teacher, teacher_weight: the same of the teacher; they get no gradient.

    Returns:
        The sum in nats (scalar, differentiable once) and each token's (`[N]`, not differentiable).
    """
    total, each = _LinearDivergence.apply(hidden, weight, teacher, teacher_weight)  # type: ignore[no-untyped-call]
    return total, each


class _LinearDivergence(torch.autograd.Function):
    """Computes the gradients in the forward pass, while each chunk's probabilities are at hand."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, teacher: Tensor, teacher_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        each, grad_hidden = hidden.new_empty(len(hidden)), torch.empty_like(hidden)  # [N], [N, D]
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None  # [V, D]
        for start in range(0, len(hidden), CHUNK):
            chunk = slice(start, start + CHUNK)
            wanted = torch.log_softmax(teacher[chunk] @ teacher_weight.t(), 1)  # [n, V]
            said = torch.log_softmax(hidden[chunk] @ weight.t(), 1)  # [n, V]
            probabilities = wanted.exp()  # [n, V]
            each[chunk] = wanted.sub_(said).mul_(probabilities).sum(1)
            slope = said.exp_().sub_(probabilities)  # [n, V]
            grad_hidden[chunk] = slope @ weight
            if grad_weight is not None:
                grad_weight.addmm_(slope.t(), hidden[chunk])
        ctx.grads = (grad_hidden, grad_weight)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.grads
        ctx.grads = None
        scale = grad_outputs[0]
        return grad_hidden * scale, None if grad_weight is None else grad_weight * scale, None, None
