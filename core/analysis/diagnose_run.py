"""Diagnosis of a stored run's perplexity: the function behind `eetui diagnose`.

It reads the store; only lost context needs the model, which is loaded from the run's checkpoint.

Shapes: K blocks, N tokens in W windows of T; n hard tokens of the last block.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from core.analysis.diagnosis import (
    Diagnosis,
    HardTokens,
    StepName,
    diagnose,
    hard_tokens_way,
    training_loss,
    training_stage,
)
from core.analysis.stored_run import StoredRun, evaluated_tokens, own_thresholds, stored_run
from core.analysis.token_table import Floats, Integers, TokenTable
from core.config.run_config import RunConfig
from core.errors import EetuiError
from core.events import Event, StageStarted, Step
from core.extensions.kinds import EXIT_METHODS
from core.extensions.plugins import find, is_pinned
from core.generators import Returning
from core.state import RunState
from core.store.reader import Reader

if TYPE_CHECKING:  # torch takes 1 to 2 s, and only the last block's way needs it
    from torch import Tensor

    from core.model import Transformer

Result = TypeVar("Result")
Measuring = Generator[str, None, Result]
"""Yields what it is doing and returns the result; the consumer may stop early."""


@dataclass(frozen=True, eq=False)
class Diagnosed:
    """A run with its diagnosis.

    Attributes:
        tokens: number of evaluated tokens.
        hard_tokens: waterfall of the last block; None if it was not measured, for the reason in `not_measured`.
        measuring: current step of that measurement; empty at the end.
        bytes_per_token: mean bytes of the evaluated tokens; None for runs that did not count them.
        start_bytes_per_token: the same of the tokens that the first loss is of.
    """

    number: int
    name: str
    config: RunConfig
    tokens: int
    diagnosis: Diagnosis
    hard_tokens: HardTokens | None
    not_measured: str
    measuring: str = ""
    bytes_per_token: float | None = None
    start_bytes_per_token: float | None = None


def diagnose_run(reader: Reader, number: int) -> Diagnosed:
    """Diagnose a run's perplexity.

    Raises:
        RunLookupError: there is no such run.
        UsageError: the run is not finished, or has no token statistics.
        ConfigError: its exit method is a plug-in that is gone or has changed.
    """
    *_, found = diagnosis_steps(reader, number)
    return found


def diagnosis_steps(reader: Reader, number: int) -> Iterator[Diagnosed]:
    """Yield the diagnosis of a run as it is computed: first the part without the model, last all of it.

    The consumer may stop early.

    Raises:
        RunLookupError, UsageError, ConfigError: as for `diagnose_run`.
    """
    run = stored_run(reader, number)
    if is_pinned(run.config.method):
        find(EXIT_METHODS, run.config.method)
    table, _ = evaluated_tokens(reader, run)
    found = Diagnosed(
        number=number,
        name=run.name,
        config=run.config,
        tokens=table.tokens,
        diagnosis=diagnose(table, run.state, partial(reader.window_losses, number), run.config),
        hard_tokens=None,
        not_measured="",
        bytes_per_token=run.state.eval_bytes_per_token,
        start_bytes_per_token=started.val_bytes_per_token
        if (started := training_stage(run.state, run.config))
        else None,
    )
    measuring = Returning(_hard_tokens(reader, run, table))
    for step in measuring:
        yield replace(found, measuring=step)
    hard, why = measuring.result
    yield replace(found, hard_tokens=hard, not_measured=why)


def _hard_tokens(reader: Reader, run: StoredRun, table: TokenTable) -> Measuring[tuple[HardTokens | None, str]]:
    """Return the waterfall of the last block, or None and why it was not measured."""
    if run.config.model.imported:
        return None, (
            "the numbers were imported, and are of tokens that went through every block: what other tokens see of "
            "those that left is not in them"
        )
    if run.config.protocol != "staged" or not table.exits:
        return None, "no block was trained on hard tokens alone"
    from core.store.files import checkpoint_folder

    if not (folder := checkpoint_folder(reader.path, run.number)).is_dir():
        return None, f"no checkpoint: the run's weights, once in {folder}, are gone or were never kept"
    yield "reading the model"
    from core.protocol.checkpoint import Checkpoint, load_model

    try:
        checkpoint = Checkpoint.of_run(reader.path, run.number, run.config, run.record["fingerprint"], run.created)
        model = load_model(run.config, run.record["vocab_size"], checkpoint)
        return (yield from measure_hard_tokens(model, table, run.state, run.config)), ""
    except EetuiError as error:
        return None, str(error)


def measure_hard_tokens(
    model: "Transformer", table: TokenTable, state: RunState, config: RunConfig
) -> Measuring[HardTokens]:
    """Measure the waterfall of the last block on the evaluated tokens that the run's own exits send there.

    Training with masked hard tokens passes them on as evaluation does, so the waterfall has one step less.

    Args:
        model: the run's final model, on the CPU.
        table: table of the evaluated tokens.

    Raises:
        NoHardTokensError: too few tokens reach the last block.
    """
    thresholds = own_thresholds(state, config)
    kept, trained = yield from _as_trained_on(model, table, thresholds, config)
    evaluated = (yield from _as_evaluated(model, table, table.left_at(thresholds), config))[kept]
    losses: dict[StepName, Floats] = {"split gap": trained, "lost context": evaluated}
    if config.exit.hard_tokens == "repack":
        losses |= {"lost context": table.cross_entropy[-1, kept], "exited state": evaluated}
    return hard_tokens_way(training_loss(state, config, table.blocks - 1), kept, losses, table)


def _as_trained_on(
    model: "Transformer", table: TokenTable, thresholds: tuple[float, ...], config: RunConfig
) -> Measuring[tuple[Integers, Floats]]:
    """Pass tokens on as in training; return the indices of those that reach the last block, and their loss, `[n]`."""
    import torch

    from core.stages.block_data import from_tokens
    from core.stages.hard_tokens import hard_tokens
    from core.stages.statistics import block_output

    data = from_tokens(model, _in_windows(table.inputs, table), _in_windows(table.targets, table))
    kept: Integers = np.arange(table.tokens)
    for block, threshold in enumerate(thresholds):
        output = yield from _with_progress(block_output(model, block, data, config, "diagnosis"), f"block {block}")
        signal = table.signal[block, kept]
        data = hard_tokens(output, torch.from_numpy(signal), threshold, config)
        kept = kept[signal < threshold][: data.tokens]
    last = len(thresholds)
    output = yield from _with_progress(
        block_output(model, last, data, config, "diagnosis"), f"block {last} on hard tokens"
    )
    return kept, output.statistics.cross_entropy.numpy()


def _as_evaluated(model: "Transformer", table: TokenTable, left_at: Integers, config: RunConfig) -> Measuring[Floats]:
    """Compute the loss at the last block under early exit, `[N]`; NaN for tokens that exit before.

    Args:
        left_at: block that each token exits at, `[N]`.
    """
    import torch

    from core.data.batches import in_order
    from core.early_exit.masked import early_exit_states, go_on
    from core.head.loss import token_statistics

    inputs, targets, leaves_at = (_in_windows(values, table) for values in (table.inputs, table.targets, left_at))
    losses = torch.full(inputs.shape, torch.nan)  # [W, T]
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


def _in_windows(values: Integers, table: TokenTable) -> "Tensor":
    """Reshape values of all tokens into windows: `[N]` to int64 `[W, T]`."""
    import torch

    return torch.from_numpy(values).long().view(-1, table.seq_len)


def _with_progress(stage: Generator[Event, None, Result], doing: str) -> Measuring[Result]:
    """Run a stage; yield its progress in words, and return its result."""
    steps, running = 1, Returning(stage)
    for event in running:
        if isinstance(event, StageStarted):
            steps = event.steps
        elif isinstance(event, Step):
            yield f"{doing}, {event.step / steps:.0%}"
    return running.result
