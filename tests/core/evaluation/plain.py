"""Plain reference for early exit and fixed depths: token by token, with all tokens through all blocks."""

import torch
from torch import Tensor

from core.config.run_config import RunConfig
from core.data.windows import Dataset, Windows
from core.evaluation.evaluate import evaluate
from core.events import Measured
from core.exits import exit_method
from core.exits._contract import Observation
from core.head.token_statistics import TokenStatistics
from core.model import Transformer
from tests.core.training import SEED


def plain_early_exit(
    model: Transformer, thresholds: list[float], windows: Windows, method_name: str
) -> tuple[Tensor, Tensor]:
    """Apply the report's rule token by token; return losses and the block each token exits at, both `[N, T]`.

    A token that leaves enters the next block with the state it had when it entered the block it left, and runs
    through it with the others.
    """
    method = exit_method(method_name)
    foreseen = plain_statistics(model, windows)
    losses = torch.zeros(windows.targets.shape, dtype=torch.float64)
    left_at = torch.full(windows.targets.shape, -1)
    for index, (ids, targets) in enumerate(zip(windows.inputs, windows.targets, strict=True)):
        entering = [model.embedding.weight[token_id] for token_id in ids]
        for depth, block in enumerate(model.blocks):
            leaving = block(torch.stack(entering)[None])[0]
            for token, state in enumerate(leaving):
                if left_at[index, token] >= 0:
                    continue
                probabilities = (model.head.weight @ state).softmax(0)
                target, place = targets[token], torch.tensor([index * windows.targets.shape[1] + token])
                if depth < len(model.blocks) - 1:
                    ahead = tuple(statistics[place] for statistics in foreseen[depth + 1 :])
                    known = statistics_of(probabilities[None], target[None])
                    states = state[None], state[None], entering[token][None]
                    saved = layers_saved(model, depth)
                    seen = Observation(*states, place, depth, SEED, known, ahead, saved)
                    if method.signal(seen, model.classifiers[depth]).item() < thresholds[depth]:
                        entering[token] = state
                        continue
                losses[index, token] = -probabilities[target].log()
                left_at[index, token] = depth
    return losses, left_at


def statistics_of(probabilities: Tensor, targets: Tensor) -> TokenStatistics:
    """Compute all statistics of predictions `[N, V]`."""
    best, second = probabilities.topk(2).values.T
    entropy = -(probabilities * probabilities.log()).sum(1) / torch.tensor(float(probabilities.shape[1])).log()
    guess = probabilities.argmax(1)
    cross_entropy = -probabilities.gather(1, targets[:, None])[:, 0].log()
    return TokenStatistics(cross_entropy, best, guess == targets, guess, best - second, entropy)


def plain_statistics(model: Transformer, windows: Windows) -> list[TokenStatistics]:
    """Compute the statistics of each block when all tokens go through all blocks."""
    states, found = model.embedding(windows.inputs), []
    for block in model.blocks:
        states = block(states)
        found.append(statistics_of(model.head(states).flatten(0, 1).softmax(1), windows.targets.flatten()))
    return found


def measure(model: Transformer, thresholds: list[float], dataset: Dataset, config: RunConfig) -> dict[str, Measured]:
    events = evaluate(model, thresholds, dataset.evaluation, config, "evaluation")
    return {event.name: event for event in events if isinstance(event, Measured)}


def middling_thresholds(model: Transformer, dataset: Dataset, method_name: str) -> list[float]:
    """Return medians of the signal over the evaluation tokens, so that some tokens exit at every block."""
    return [signal.median().item() + 1e-9 for signal in static_signals(model, dataset, method_name)]


def layers_saved(model: Transformer, depth: int) -> tuple[float, ...]:
    """Return the share of the layers that leaving at a block saves against each later one."""
    layers = [len(block.layers) for block in model.blocks]
    return tuple(sum(layers[depth + 1 : later + 1]) / sum(layers) for later in range(depth + 1, len(layers)))


def static_signals(model: Transformer, dataset: Dataset, method_name: str) -> list[Tensor]:
    """Compute the signals at every exit when all tokens go through all blocks, `[N · T]` each."""
    method, statistics = exit_method(method_name), plain_statistics(model, dataset.evaluation)
    states, signals = model.embedding(dataset.evaluation.inputs), []
    for depth, block in enumerate(model.blocks[:-1]):
        entered, states = states, block(states)
        hidden, tokens = states.flatten(0, 1), torch.arange(dataset.evaluation.targets.numel())
        known, ahead = statistics[depth], tuple(statistics[depth + 1 :])
        saved = layers_saved(model, depth)
        seen = Observation(hidden, hidden, entered.flatten(0, 1), tokens, depth, SEED, known, ahead, saved)
        signals.append(method.signal(seen, model.classifiers[depth]))
    return signals


def floats(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.float32)
