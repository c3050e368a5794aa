"""A stored run for analyses: its config, its state, its thresholds, and the table of its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.analysis.given_costs import given_costs
from core.analysis.token_table import TokenTable, token_table
from core.analysis.tradeoff import DepthSavings, depth_savings
from core.config.derived import exit_count
from core.config.run_config import RunConfig, rebuilt
from core.costs import ExitCosts, PricedCosts, as_shares, exit_costs, priced_costs
from core.errors import UsageError
from core.exits._facts import MethodFacts, run_facts
from core.pricing.thresholds import exits_off
from core.state import RunState
from core.store.reader import Reader
from core.store.tokens import EvaluationText


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A run read from the store.

    Attributes:
        created: when it was created, in seconds since 1970.
        record: reproduction record (`core.session.provenance`).
        method: description of its exit method, read without importing it.
    """

    number: int
    name: str
    created: float
    status: str
    record: Mapping[str, Any]
    config: RunConfig
    method: MethodFacts
    state: RunState

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Threshold of each exit.

        Raises:
            UsageError: one is missing (`own_thresholds`).
        """
        return own_thresholds(self.state, self.config)


def stored_run(reader: Reader, number: int) -> StoredRun:
    """Read a run.

    Raises:
        RunLookupError: there is no such run.
    """
    row = reader.run(number)
    config = rebuilt(row["config"], f"run {number}")
    return StoredRun(
        number=number,
        name=row["name"],
        created=row["created"],
        status=row["status"],
        record=row["record"],
        config=config,
        method=run_facts(row),
        state=reader.state(number),
    )


def own_thresholds(state: RunState, config: RunConfig) -> tuple[float, ...]:
    """Return the run's threshold of each exit, the later one if it was set twice; empty without exits.

    Raises:
        UsageError: a threshold is not set yet, or not for the last time.
    """
    exits = range(exit_count(config.protocol, len(config.model.block_layers)))
    planned = state.started.stages if state.started else ()
    last = {stage.block: stage.name for stage in planned if stage.kind == "hard tokens"}
    stages = [state.stage("hard tokens", block) for block in exits]
    found = tuple(
        stage.threshold.threshold
        for stage in stages
        if stage and stage.threshold and stage.name == last.get(stage.block, stage.name)
    )
    if len(found) < len(exits):
        raise UsageError(
            "the run has not set its thresholds yet: only a finished run has them all, let it finish (eetui resume)"
        )
    return found


def evaluated_tokens(reader: Reader, run: StoredRun) -> tuple[TokenTable, EvaluationText]:
    """Read the table of a run's evaluated tokens, and their text.

    Raises:
        UsageError: the run has no token statistics.
    """
    blocks = reader.token_statistics(run.number)
    text = reader.text(run.record["fingerprint"]) if blocks else None
    if text is None:
        if run.config.model.imported:
            raise UsageError(f"{run.name} was logged (eetui.log), without its tokens: import those (eetui import)")
        raise UsageError(
            f"{run.name} keeps no statistics of its tokens ({run.status}): they are written when a run is evaluated, "
            f"and may have been left out since; train it again (eetui show {run.number} has the command)"
        )
    return token_table(blocks, text, run.config.data.seq_len), text


def exiting_tokens(reader: Reader, run: StoredRun) -> TokenTable:
    """Read the table of the evaluated tokens of a run with exits.

    Raises:
        UsageError: the run has no exits, or no token statistics.
    """
    table, _ = evaluated_tokens(reader, run)
    if table.blocks == 1:
        raise UsageError(f"{run.name} has one block only, so no token can leave early: give it more block_layers")
    if not table.exits:
        raise UsageError(f"{run.name} was trained without exits, so there is nothing to judge")
    return table


def exit_savings(run: StoredRun) -> DepthSavings:
    """Return the savings of a token that leaves at each block of a run."""
    return depth_savings(run_costs(run))


def run_costs(run: StoredRun, thresholds: Sequence[float] = ()) -> ExitCosts:
    """Return the costs of early exit in a run; exits off at these thresholds cost nothing."""
    if run.config.model.imported:
        cost: ExitCosts = given_costs(run.config, run.record)
    else:
        facts = run.method
        cost = exit_costs(run.config, run.record["vocab_size"], reads_head=facts.reads_head, learns=facts.learns)
    return replace(cost, off=exits_off(thresholds))


def paid_costs(run: StoredRun, cost: Literal["layers", "flops"]) -> PricedCosts:
    """Return what a price is paid for in a run: layers, or FLOPs with the signals' own."""
    if run.config.model.imported and cost == "flops":
        return as_shares(given_costs(run.config, run.record))
    return priced_costs(
        run.config, run.record["vocab_size"], reads_head=run.method.reads_head, learns=run.method.learns, cost=cost
    )
