"""Exit-classifier stage: fit the classifier of one block to its labels, everything else frozen."""

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from core import costs
from core.config.run_config import RunConfig
from core.data.batches import shuffled
from core.errors import DivergedError
from core.events import Epoch, Event, StageStarted, Step
from core.exits._contract import ExitMethod
from core.head.token_statistics import mean64
from core.machine.clock import UNPROFILED, Clock
from core.model import ExitClassifier, Transformer
from core.rng import stream
from core.stages.statistics import BlockOutput, observe
from core.stages.trainer import Weights, block_learning_rate

LBFGS_ROUNDS, LBFGS_ITERATIONS = 20, 25
"""Most rounds, each reported as an epoch, and most iterations of one."""
CONVERGED = 1e-6
"""Relative decrease of the loss in a round below which the fit has converged."""
FLAT = 1e-6
"""Share of the largest variance below which a direction of the states counts as flat."""


def fit_classifier(
    model: Transformer,
    block: int,
    output: BlockOutput,
    method: ExitMethod,
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, Weights]:
    """Fit `model.classifiers[block]` to the method's label, on states that were computed once.

    Returns:
        The classifier's weights, by their names in the model.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    with clock.part("data"):
        seen, classifier = observe(model, block, output, config.seed), model.classifier(block)
        fit = _Fit(stage, block, config, method, classifier, seen.hidden, method.label(seen), clock)
    yield from fit.by_lbfgs() if config.exit.classifier_fit == "lbfgs" else fit.by_adam(_rows(output))
    return {f"classifiers.{block}.{name}": weight.detach().clone() for name, weight in classifier.named_parameters()}


@dataclass(frozen=True)
class _Fit:
    """One classifier, and what it is fitted to: `hidden [n, D]` to `labels [n]`."""

    stage: str
    block: int
    config: RunConfig
    method: ExitMethod
    classifier: ExitClassifier
    hidden: Tensor
    labels: Tensor
    clock: Clock

    def by_adam(self, rows: Tensor) -> Iterator[Event]:
        """`exit_epochs` epochs over batches of whole windows, as in the report.

        Args:
            rows: for each token of each window its row in `hidden`, or −1 where it has left, int64 `[N, T]`.
        """
        stage, config, batch_size = self.stage, self.config, self.config.train.batch_size
        windows = torch.arange(len(rows), device=rows.device)
        learning_rate = block_learning_rate(config, self.block)
        optimizer = torch.optim.Adam(self.classifier.parameters(), lr=learning_rate, fused=True)
        steps, epochs = -(-len(windows) // batch_size), config.exit.exit_epochs
        flops = costs.classifier_flops(config.model)  # as many again for the weight's gradient; the states need none
        yield StageStarted(stage, "exit classifier", self.block, epochs, steps, len(self.hidden), flops=2 * flops)
        for epoch in range(1, epochs + 1):
            began, total = time.perf_counter(), 0.0
            batches = shuffled(windows, batch_size, stream(config.seed, stage, "batches", epoch))
            for step, batch in enumerate(batches, start=1):
                step_began = time.perf_counter()
                with self.clock.part("data"):
                    tokens = rows[batch].flatten()
                    tokens = tokens[tokens >= 0]
                    if len(tokens) == 0:
                        continue
                    hidden, labels = self.hidden[tokens], self.labels[tokens]
                with self.clock.part("forward", flops * len(tokens)):
                    loss = self.method.loss(self.classifier(hidden), labels)
                optimizer.zero_grad(set_to_none=True)
                with self.clock.part("backward", flops * len(tokens)):
                    loss.backward()
                with self.clock.part("optimizer"):
                    optimizer.step()
                total += loss.item()
                yield Step(stage, epoch, step, loss.item() / len(tokens), len(tokens), time.perf_counter() - step_began)
            yield self._epoch(epoch, total / len(self.hidden), began)

    def by_lbfgs(self) -> Iterator[Event]:
        """L-BFGS on the mean loss over all tokens until it no longer falls (Nocedal and Wright 2006, algorithm 7.5).

        It starts from the constant that fits best, not from what was drawn, so that nothing random is left in it. It
        computes in float64 on the CPU, where a line search can see the small slopes of a sigmoid near 0, and on
        whitened states, so that a few dozen iterations are enough.
        """
        stage, tokens, linear = self.stage, len(self.hidden), self.classifier.linear
        flops = tokens * costs.classifier_flops(self.config.model)
        with self.clock.part("data"):
            labels = self.labels.cpu().double()
            hidden, mean_state, whitening = _whitened(self.hidden.cpu().double())
        weight = hidden.new_zeros(hidden.shape[1], requires_grad=True)
        bias = labels.mean().clamp(1e-3, 1 - 1e-3).logit().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=LBFGS_ITERATIONS,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def mean_loss() -> float:
            with self.clock.part("forward", flops):
                loss = self.method.loss(hidden @ weight + bias, labels) / tokens
            optimizer.zero_grad(set_to_none=True)
            with self.clock.part("backward", flops):
                loss.backward()
            return loss.item()

        yield StageStarted(stage, "exit classifier", self.block, LBFGS_ROUNDS, 1, tokens)
        before = mean_loss()
        for epoch in range(1, LBFGS_ROUNDS + 1):
            began = time.perf_counter()
            with self.clock.part("optimizer"):
                optimizer.step(mean_loss)
            mean = mean_loss()
            yield Step(stage, epoch, 1, mean, tokens, time.perf_counter() - began)
            yield self._epoch(epoch, mean, began)
            if before - mean <= CONVERGED * abs(mean):
                break
            before = mean
        with torch.no_grad():
            linear.weight.copy_(whitening @ weight)
            linear.bias.copy_(bias - mean_state @ whitening @ weight)

    def _epoch(self, epoch: int, mean: float, began: float) -> Epoch:
        if not math.isfinite(mean):
            raise DivergedError(
                f"{self.stage} diverged in epoch {epoch}: the loss is not a finite number; lower train.lr"
            )
        seconds = time.perf_counter() - began
        return Epoch(self.stage, epoch, mean, None, mean, mean64(self.labels), True, None, seconds)


def _whitened(states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States `[n, D]` with mean 0 and covariance 1, the mean `[D]`, and the matrix `[D, D]` that made them so.

    Directions in which they hardly vary are left out: a weight there would fit noise.
    """
    mean = states.mean(0)
    values, vectors = torch.linalg.eigh((states - mean).T @ (states - mean) / len(states))
    scales = torch.where(values > FLAT * values[-1], values, torch.inf).rsqrt()
    matrix = vectors * scales
    return (states - mean) @ matrix, mean, matrix


def _rows(output: BlockOutput) -> Tensor:
    """For each token of each window its place among those that are still in, or −1; int64 `[N, T]`."""
    active, targets = output.data.active, output.targets
    if active is None:
        return torch.arange(targets.numel(), device=targets.device).view_as(targets)
    places = torch.arange(output.data.tokens, device=targets.device)
    return torch.full_like(targets, -1).masked_scatter(active, places)
