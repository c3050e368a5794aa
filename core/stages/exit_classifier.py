"""Exit-classifier stage: fit the classifier of one block to its labels, with everything else frozen.

Shapes: N windows, T tokens of a window, D model width; n active tokens, b active tokens of a batch.
"""

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
"""Largest number of rounds, each reported as an epoch, and of iterations in a round."""
CONVERGED = 1e-6
"""Relative decrease of the loss in a round at which the fit has converged."""
FLAT = 1e-6
"""Share of the largest variance up to which a direction of the states counts as flat."""


def fit_classifier(
    model: Transformer,
    block: int,
    output: BlockOutput,
    method: ExitMethod,
    config: RunConfig,
    stage: str,
    clock: Clock = UNPROFILED,
) -> Generator[Event, None, Weights]:
    """Fit `model.classifiers[block]` to the method's labels, on the stored states of the block.

    Returns:
        The classifier's weights, by their names in the model.

    Raises:
        DivergedError: the loss is not finite.
    """
    with clock.part("data"):
        seen, classifier = observe(model, block, output, config), model.classifier(block)
        fit = _Fit(stage, block, config, method, classifier, seen.hidden, method.label(seen), clock)
    yield from fit.by_lbfgs() if config.exit.classifier_fit == "lbfgs" else fit.by_adam(_rows(output))
    return model.classifier_weights(block)


@dataclass(frozen=True)
class _Fit:
    """A classifier with its training set: `hidden [n, D]` and `labels [n]`."""

    stage: str
    block: int
    config: RunConfig
    method: ExitMethod
    classifier: ExitClassifier
    hidden: Tensor
    labels: Tensor
    clock: Clock

    def by_adam(self, rows: Tensor) -> Iterator[Event]:
        """Fit by Adam for `exit_epochs` epochs over batches of whole windows, as in the report.

        Args:
            rows: row of each token in `hidden`, −1 for an exited token, int64 `[N, T]`.
        """
        stage, config, batch_size = self.stage, self.config, self.config.train.batch_size
        windows = torch.arange(len(rows), device=rows.device)  # [N]
        learning_rate = block_learning_rate(config, self.block)
        optimizer = torch.optim.Adam(self.classifier.parameters(), lr=learning_rate, fused=True)
        steps, epochs = -(-len(windows) // batch_size), config.exit.exit_epochs
        flops = costs.classifier_flops(config.model)  # the weight's gradient takes as many; the states have none
        yield StageStarted(stage, "exit classifier", self.block, epochs, steps, len(self.hidden), flops=2 * flops)
        for epoch in range(1, epochs + 1):
            began, total = time.perf_counter(), 0.0
            batches = shuffled(windows, batch_size, stream(config.seed, stage, "batches", epoch))
            for step, batch in enumerate(batches, start=1):
                step_began = time.perf_counter()
                with self.clock.part("data"):
                    tokens = rows[batch].flatten()
                    tokens = tokens[tokens >= 0]  # [b]
                    if len(tokens) == 0:
                        continue
                    hidden, labels = self.hidden[tokens], self.labels[tokens]  # [b, D], [b]
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
        """Fit by L-BFGS on the mean loss over all tokens until it converges (Nocedal and Wright 2006, algorithm 7.5).

        The fit starts from the best constant instead of the random initial weights, so it does not depend on the seed.
        It runs in float64 on the CPU, where a line search resolves the small slopes of a sigmoid near 0, and on
        whitened states, so that a few dozen iterations are enough.
        """
        stage, tokens, linear = self.stage, len(self.hidden), self.classifier.linear
        flops = tokens * costs.classifier_flops(self.config.model)
        with self.clock.part("data"):
            labels = self.labels.cpu().double()  # [n]
            hidden, mean_state, whitening = _whitened(self.hidden.cpu().double())
        weight = hidden.new_zeros(hidden.shape[1], requires_grad=True)  # [D]
        bias = labels.mean().clamp(1e-3, 1 - 1e-3).logit().requires_grad_()  # scalar
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
            raise DivergedError(f"{self.stage} diverged in epoch {epoch}: the loss is not finite; lower train.lr")
        seconds = time.perf_counter() - began
        return Epoch(self.stage, epoch, mean, None, mean, mean64(self.labels), True, None, seconds)


def _whitened(states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whiten states: return them with mean 0 and covariance 1 `[n, D]`, their mean `[D]`, and the matrix `[D, D]`.

    Flat directions are set to 0: a weight there would fit noise.
    """
    mean = states.mean(0)  # [D]
    values, vectors = torch.linalg.eigh((states - mean).T @ (states - mean) / len(states))  # [D], [D, D]
    scales = torch.where(values > FLAT * values[-1], values, torch.inf).rsqrt()  # [D]; 0 for a flat direction
    matrix = vectors * scales  # [D, D]
    return (states - mean) @ matrix, mean, matrix


def _rows(output: BlockOutput) -> Tensor:
    """Return each token's index among the active tokens, −1 for an exited one; int64 `[N, T]`."""
    active, targets = output.data.active, output.targets
    if active is None:
        return torch.arange(targets.numel(), device=targets.device).view_as(targets)
    indices = torch.arange(output.data.tokens, device=targets.device)  # [n]
    return torch.full_like(targets, -1).masked_scatter(active, indices)
