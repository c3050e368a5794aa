"""The chunked loss against `F.cross_entropy(F.linear(…))`."""

import pytest
import torch
import torch.nn.functional as F

from core.head import chunks
from core.head import loss as losses
from core.head.loss import linear_cross_entropy, linear_cross_entropy_with_statistics, token_statistics
from tests.core.head.examples import DIM, WORDS, example, plain

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def several_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(chunks, "LEAST_SHARE", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tokens", [1, 4, 5, 6, 10, 23])
def test_loss_and_both_gradients_equal_the_plain_ones(tokens: int, dtype: torch.dtype) -> None:
    hidden, weight, targets = example(tokens, dtype)
    expected = plain(hidden, weight, targets)
    expected_grads = torch.autograd.grad(expected, (hidden, weight))
    loss, _ = linear_cross_entropy(hidden, weight, targets)
    grads = torch.autograd.grad(loss, (hidden, weight))
    limit = TOLERANCE[dtype]
    torch.testing.assert_close(loss, expected, rtol=limit, atol=limit)
    torch.testing.assert_close(grads, expected_grads, rtol=limit, atol=limit)


@pytest.mark.parametrize("smoothing", [0.05, 0.5])
@pytest.mark.parametrize("tokens", [1, 5, 23])
def test_smoothed_targets_give_torch_s_loss_and_gradients_and_leave_the_statistics_alone(
    tokens: int, smoothing: float
) -> None:
    hidden, weight, targets = example(tokens)
    expected = F.cross_entropy(F.linear(hidden, weight), targets, reduction="sum", label_smoothing=smoothing)
    loss, losses_of_tokens = linear_cross_entropy(hidden, weight, targets, smoothing)
    torch.testing.assert_close(loss, expected)
    grads = torch.autograd.grad(loss, (hidden, weight))
    torch.testing.assert_close(grads, torch.autograd.grad(expected, (hidden, weight)))
    assert torch.equal(losses_of_tokens, linear_cross_entropy(hidden, weight, targets)[1])


def test_gradients_equal_finite_differences() -> None:
    hidden, weight, targets = example(7)
    step = 1e-6
    linear_cross_entropy(hidden, weight, targets)[0].backward()
    for parameter in (hidden, weight):
        assert parameter.grad is not None
        values, slopes = parameter.detach().flatten(), []
        for index in range(len(values)):
            values[index] += step
            above = linear_cross_entropy(hidden, weight, targets)[0].item()
            values[index] -= 2 * step
            below = linear_cross_entropy(hidden, weight, targets)[0].item()
            values[index] += step
            slopes.append((above - below) / (2 * step))
        torch.testing.assert_close(parameter.grad.flatten(), torch.tensor(slopes).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 1.0, -3.0])
def test_the_upstream_gradient_scales_both_gradients(scale: float) -> None:
    hidden, weight, targets = example(12)
    expected = torch.autograd.grad(scale * plain(hidden, weight, targets), (hidden, weight))
    grads = torch.autograd.grad(scale * linear_cross_entropy(hidden, weight, targets)[0], (hidden, weight))
    torch.testing.assert_close(grads, expected)


def test_a_frozen_head_gets_no_gradient_and_the_states_still_do() -> None:
    hidden, weight, targets = example(12)
    (expected,) = torch.autograd.grad(plain(hidden, weight, targets), hidden)
    weight.requires_grad_(False)
    linear_cross_entropy(hidden, weight, targets)[0].backward()
    assert weight.grad is None
    torch.testing.assert_close(hidden.grad, expected)


def test_frozen_states_get_no_gradient_and_the_head_still_does() -> None:
    hidden, weight, targets = example(12)
    (expected,) = torch.autograd.grad(plain(hidden, weight, targets), weight)
    hidden.requires_grad_(False)
    linear_cross_entropy(hidden, weight, targets)[0].backward()
    assert hidden.grad is None
    torch.testing.assert_close(weight.grad, expected)


def test_huge_logits_give_finite_losses_and_gradients() -> None:
    hidden, weight, targets = example(6, torch.float32)
    hidden = (hidden * 1e4).detach().requires_grad_()
    loss, _ = linear_cross_entropy(hidden, weight, targets)
    loss.backward()
    torch.testing.assert_close(loss, plain(hidden, weight, targets))
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()


def test_a_second_call_does_not_disturb_what_the_first_returned() -> None:
    hidden, weight, targets = example(12)
    loss, losses_of_tokens = linear_cross_entropy(hidden, weight, targets)
    before = losses_of_tokens.clone()
    expected = torch.autograd.grad(plain(hidden, weight, targets), (hidden, weight))
    linear_cross_entropy(-hidden, weight, targets)
    assert torch.equal(losses_of_tokens, before)
    torch.testing.assert_close(torch.autograd.grad(loss, (hidden, weight)), expected)


def test_a_target_that_repeats_is_counted_each_time() -> None:
    hidden, weight, _ = example(12)
    targets = torch.full((12,), 3)
    expected = torch.autograd.grad(plain(hidden, weight, targets), (hidden, weight))
    torch.testing.assert_close(
        torch.autograd.grad(linear_cross_entropy(hidden, weight, targets)[0], (hidden, weight)), expected
    )


@pytest.mark.parametrize("products", [None, torch.bfloat16])
def test_the_same_again_gives_the_same_bits(products: torch.dtype | None) -> None:
    hidden, weight, targets = example(23, torch.float32)
    once, again = (linear_cross_entropy(hidden, weight, targets, 0.1, products)[0] for _ in range(2))
    assert torch.equal(once, again)
    grads = (torch.autograd.grad(loss, (hidden, weight)) for loss in (once, again))
    assert all(torch.equal(first, second) for first, second in zip(*grads, strict=True))


def test_bfloat16_products_leave_the_softmax_and_the_loss_exact() -> None:
    hidden, weight, targets = example(23, torch.float32)
    logits = F.linear(hidden.bfloat16(), weight.bfloat16()).float()
    loss, statistics = linear_cross_entropy_with_statistics(hidden, weight, targets, matmul_dtype=torch.bfloat16)
    expected = F.cross_entropy(logits, targets, reduction="none")
    assert loss.dtype == statistics.max_prob.dtype == torch.float32
    torch.testing.assert_close(statistics.cross_entropy, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(statistics.max_prob, logits.softmax(1).max(1).values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss, expected.sum(), rtol=1e-5, atol=1e-5)
    assert not torch.equal(logits, F.linear(hidden, weight))


def test_bfloat16_products_give_gradients_to_the_precision_of_bfloat16() -> None:
    hidden, weight, targets = example(200, torch.float32)
    expected = torch.autograd.grad(plain(hidden, weight, targets), (hidden, weight))
    loss, _ = linear_cross_entropy(hidden, weight, targets, matmul_dtype=torch.bfloat16)
    for found, exact in zip(torch.autograd.grad(loss, (hidden, weight)), expected, strict=True):
        assert found.dtype == torch.float32
        assert 1e-5 < (found - exact).norm() / exact.norm() < 2**-7


def test_a_call_with_statistics_gives_the_same_loss_and_gradients() -> None:
    hidden, weight, targets = example(23)
    plain_loss, losses_of_tokens = linear_cross_entropy(hidden, weight, targets, 0.1)
    loss, statistics = linear_cross_entropy_with_statistics(hidden, weight, targets, 0.1)
    torch.testing.assert_close(plain_loss, loss)
    torch.testing.assert_close(losses_of_tokens, statistics.cross_entropy)
    for one, other in zip(*(torch.autograd.grad(each, (hidden, weight)) for each in (plain_loss, loss)), strict=True):
        torch.testing.assert_close(one, other)


def test_a_word_that_is_certain_costs_nothing_and_never_less() -> None:
    hidden = torch.randn(200, DIM, generator=torch.Generator().manual_seed(3)) * 30
    weight = torch.cat((hidden[:1], -hidden[:1], hidden[:1] / 3))
    _, losses_of_tokens = linear_cross_entropy(hidden, weight, (hidden @ weight.T).argmax(1))
    assert (losses_of_tokens >= 0).all()


@pytest.mark.parametrize("tokens", [1, 2, 7, 23])
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_tokens_shared_out_among_threads_give_the_same_to_rounding(
    monkeypatch: pytest.MonkeyPatch, tokens: int, threads: int
) -> None:
    hidden, weight, targets = example(tokens)
    loss, statistics = linear_cross_entropy_with_statistics(hidden, weight, targets, 0.1)
    expected = (loss, *torch.autograd.grad(loss, (hidden, weight)))
    several_threads(monkeypatch, threads)
    for _ in range(2):
        again, shared = linear_cross_entropy_with_statistics(hidden, weight, targets, 0.1)
        torch.testing.assert_close((again, *torch.autograd.grad(again, (hidden, weight))), expected)
        for found in (shared, token_statistics(hidden, weight, targets)):
            torch.testing.assert_close(found.cross_entropy, statistics.cross_entropy)
            assert torch.equal(found.prediction, statistics.prediction)


def test_the_buffers_belong_to_the_calling_thread_and_do_not_grow_with_the_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    several_threads(monkeypatch, 2)
    hidden, weight, targets = example(23)
    linear_cross_entropy(hidden, weight, targets)
    first = [buffer.take("chunk", hidden, 1, 1).untyped_storage().data_ptr() for buffer in losses._kept.buffers]
    linear_cross_entropy(*example(60))
    token_statistics(hidden, weight, targets)
    assert [buffer.take("chunk", hidden, 1, 1).untyped_storage().data_ptr() for buffer in losses._kept.buffers] == first
    sizes = [{role: len(buffer) for role, buffer in buffers._kept.items()} for buffers in losses._kept.buffers]
    assert sizes == [
        {"means": 5 * 5 * DIM, "chunk": 5 * WORDS, "tile": 5 * 7},
        {"means": 5 * 5 * DIM, "chunk": 5 * WORDS, "tile": 5 * 7, "gradient": WORDS * DIM},
    ]
