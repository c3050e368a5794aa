"""Exit-classifier stage: fit the classifier of one block to its labels, everything else frozen."""

import math
import time
from collections.abc import Generator

import torch

from core.config import RunConfig
from core.errors import DivergedError
from core.events import Epoch, Event, StageStarted, Step
from core.exits import exit_method
from core.losses import mean64
from core.model import Transformer
from core.rng import stream
from core.stages.batches import shuffled
from core.stages.lm import Weights, block_learning_rate
from core.stages.statistics import BlockOutput


def fit_classifier(
    model: Transformer, block: int, output: BlockOutput, config: RunConfig, stage: str
) -> Generator[Event, None, Weights]:
    """Fit `model.classifiers[block]` with Adam to the method's label, on states that were computed once.

    Returns:
        The classifier's weights, by their names in the model.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    method, classifier = exit_method(config.method), model.classifier(block)
    width = output.targets.shape[1]
    states = output.states.flatten(0, 1)
    labels = method.label(output.statistics)
    windows = torch.arange(len(output.states), device=states.device)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=block_learning_rate(config, block), fused=True)
    steps = -(-len(windows) // config.train.batch_size)
    yield StageStarted(stage, "exit classifier", block, config.exit.exit_epochs, steps, len(states))
    for epoch in range(1, config.exit.exit_epochs + 1):
        began, total = time.perf_counter(), 0.0
        batches = shuffled(windows, config.train.batch_size, stream(config.seed, stage, "batches", epoch))
        for step, batch in enumerate(batches, start=1):
            step_began = time.perf_counter()
            tokens = (batch[:, None] * width + torch.arange(width, device=batch.device)).flatten()
            loss = method.loss(classifier(states[tokens]), labels[tokens])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
            yield Step(stage, epoch, step, loss.item() / len(tokens), len(tokens), time.perf_counter() - step_began)
        mean = total / len(states)
        if not math.isfinite(mean):
            raise DivergedError(f"{stage} diverged in epoch {epoch}: the loss is not a finite number; lower train.lr")
        avg_label = mean64(labels)
        yield Epoch(stage, epoch, mean, None, mean, avg_label, True, None, time.perf_counter() - began)
    return {f"classifiers.{block}.{name}": weight.detach().clone() for name, weight in classifier.named_parameters()}
