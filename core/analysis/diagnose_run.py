"""Where a stored run's perplexity went: the plain function behind `eetui diagnose`.

What the store keeps is enough but for lost context, for which the model is loaded from the run's checkpoint.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from core.analysis.diagnosis import (
    Diagnosis,
    HardTokens,
    StepName,
    diagnose,
    exits_taken,
    hard_tokens_way,
    thresholds_of,
    training_loss,
)
from core.analysis.run_quality import evaluated_tokens
from core.analysis.token_table import Floats, Integers, Recorded
from core.config.dotted_names import flatten
from core.config.run_config import Layer, RunConfig, build
from core.errors import EetuiError
from core.events import Event, StageStarted, Step
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import find, is_pinned
from core.state import RunState
from core.store.reader import Reader

if TYPE_CHECKING:  # torch takes 1 to 2 s, and only the last block's way needs it
    from torch import Tensor

    from core.model import Transformer

Result = TypeVar("Result")
Measuring = Generator[str, None, Result]
"""Says what it does, and ends with the result; who has heard enough may stop."""


@dataclass(frozen=True, eq=False)
class Diagnosed:
    """A run and where its perplexity went.

    Attributes:
        tokens: of the evaluation split.
        hard_tokens: the last block's way; None where it was not measured, for the reason in `not_measured`.
        measuring: what is being done to find it; empty in the end.
    """

    number: int
    name: str
    config: RunConfig
    tokens: int
    diagnosis: Diagnosis
    hard_tokens: HardTokens | None
    not_measured: str
    measuring: str = ""


def diagnose_run(reader: Reader, run: int) -> Diagnosed:
    """Find out where a run's perplexity went.

    Raises:
        RunLookupError: there is no such run.
        UsageError: the run has not come to its end, or keeps no statistics of its tokens.
        ConfigError: its exit method is a plug-in that is gone or has changed.
    """
    *_, found = diagnosis_steps(reader, run)
    return found


def diagnosis_steps(reader: Reader, run: int) -> Iterator[Diagnosed]:
    """The same as it becomes known: first what needs no model, last all of it. Who has seen enough may stop.

    Raises:
        RunLookupError, UsageError, ConfigError: as above.
    """
    row, state = reader.run(run), reader.state(run)
    config = build([Layer(f"run {run}", flatten(row["config"]))])
    if is_pinned(config.method):
        find(EXIT_METHODS, config.method)
    tokens, text = evaluated_tokens(reader, row)
    inputs = np.asarray(text.inputs, np.int64)[: tokens.tokens].reshape(-1, text.seq_len)
    found = Diagnosed(
        number=run,
        name=row["name"],
        config=config,
        tokens=tokens.tokens,
        diagnosis=diagnose(tokens, state, partial(reader.window_losses, run), config),
        hard_tokens=None,
        not_measured="",
    )
    measuring = _hard_tokens(reader, row, config, tokens, inputs, state)
    while True:
        try:
            yield replace(found, measuring=next(measuring))
        except StopIteration as end:
            hard, why = end.value
            break
    yield replace(found, hard_tokens=hard, not_measured=why)


def _hard_tokens(
    reader: Reader, row: dict[str, Any], config: RunConfig, tokens: Recorded, inputs: Integers, state: RunState
) -> Measuring[tuple[HardTokens | None, str]]:
    """The last block's way, or why it was not measured."""
    if config.protocol != "staged" or not tokens.exits:
        return None, "no block was trained on hard tokens alone"
    from core.store.files import checkpoint_folder

    if not (folder := checkpoint_folder(reader.path, row["id"])).is_dir():
        return None, f"no checkpoint: the run's weights, once in {folder}, are gone or were never kept"
    yield "reading the model"
    import torch

    from core.protocol.checkpoint import Checkpoint, load_model

    try:
        checkpoint = Checkpoint.of_run(reader.path, row["id"], config, row["record"]["fingerprint"])
        model = load_model(config, row["record"]["vocab_size"], checkpoint)
        return (yield from measure_hard_tokens(model, torch.from_numpy(inputs), tokens, state, config)), ""
    except EetuiError as error:
        return None, str(error)


def measure_hard_tokens(
    model: "Transformer", inputs: "Tensor", tokens: Recorded, state: RunState, config: RunConfig
) -> Measuring[HardTokens]:
    """The last block's way, on the evaluation split's tokens that the run's own exits send there.

    Where training masks hard tokens, it hands them on as evaluation does: there is one step less.

    Args:
        model: as the run ended with it, on the CPU.
        inputs: the evaluated tokens, int64 `[W, T]`.

    Raises:
        NoHardTokensError: too few of them.
    """
    thresholds = thresholds_of(state, tokens, config)
    kept, trained = yield from _as_trained_on(model, inputs, tokens, thresholds, config)
    left_at = exits_taken(tokens, thresholds)
    evaluated = (yield from _as_evaluated(model, inputs, tokens, left_at, config))[kept]
    losses: dict[StepName, Floats] = {"split gap": trained, "lost context": evaluated}
    if config.exit.hard_tokens == "repack":
        losses |= {"lost context": tokens.loss[-1, kept], "exited state": evaluated}
    return hard_tokens_way(training_loss(state, config, tokens.exits), kept, losses, tokens)


def _as_trained_on(
    model: "Transformer", inputs: "Tensor", tokens: Recorded, thresholds: Sequence[float], config: RunConfig
) -> Measuring[tuple[Integers, Floats]]:
    """Which tokens come to the last block when they are handed on as in training, and their loss there, `[n]`."""
    import torch

    from core.stages.block_data import from_words
    from core.stages.hard_tokens import hard_tokens
    from core.stages.statistics import block_output

    data = from_words(model, inputs, torch.from_numpy(tokens.targets).long().view_as(inputs))
    kept: Integers = np.arange(tokens.tokens)
    for block, threshold in enumerate(thresholds):
        output = yield from _heard(block_output(model, block, data, config, "diagnosis"), f"block {block}")
        signal = tokens.signal[block, kept]
        data = hard_tokens(output, torch.from_numpy(signal), threshold, config)
        kept = kept[signal < threshold][: data.tokens]
    last = len(thresholds)
    output = yield from _heard(block_output(model, last, data, config, "diagnosis"), f"block {last} on hard tokens")
    return kept, output.statistics.cross_entropy.numpy()


def _as_evaluated(
    model: "Transformer", inputs: "Tensor", tokens: Recorded, left_at: Integers, config: RunConfig
) -> Measuring[Floats]:
    """Loss at the last block in early exit with these decisions; not a number for tokens that leave before, `[N]`."""
    import torch

    from core.data.batches import in_order
    from core.early_exit.masked import early_exit_states, go_on
    from core.head.loss import token_statistics

    targets, leaves_at = (torch.from_numpy(values).long().view_as(inputs) for values in (tokens.targets, left_at))
    losses = torch.full(inputs.shape, torch.nan)
    last = len(model.blocks) - 1
    for batch in in_order(len(inputs), config):
        yield f"early exit, {batch.start / len(inputs):.0%}"
        with torch.no_grad():
            walk = early_exit_states(model, inputs[batch], config.exit.exited_state)
            arrival = go_on(walk)
            while arrival is not None and arrival.block < last:
                arrival = go_on(walk, leaves_at[batch][arrival.tokens] == arrival.block)
            assert arrival is not None, "the walk ends at the last block"
            there = token_statistics(arrival.hidden, model.head_weight(last), targets[batch][arrival.tokens])
            losses[batch][arrival.tokens] = there.cross_entropy.float()
    return losses.flatten().numpy()


def _heard(stage: Generator[Event, None, Result], doing: str) -> Measuring[Result]:
    """What a stage returns; of its events, how far it is."""
    steps = 1
    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            result: Result = end.value
            return result
        if isinstance(event, StageStarted):
            steps = event.steps
        elif isinstance(event, Step):
            yield f"{doing}, {event.step / steps:.0%}"
