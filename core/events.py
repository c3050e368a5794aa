"""Events that a run reports: frozen records of plain values, in the order in which they happen.

Losses are mean nats per token, durations seconds, shares between 0 and 1. Exactly one of `RunFinished`, `RunFailed`
and `RunInterrupted` ends a run.

    RunStarted  StageStarted  Step*  Epoch*  Priced?  Threshold?  Measured*  Strided?  Savings?  TokensMeasured*
    Profiled?  StageEnded …  RunFinished

A resumed run starts again in the same log: `RunStarted` voids the events before it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

StageKind = Literal["lm", "statistics", "exit classifier", "price", "hard tokens", "evaluation"]
Split = Literal["train", "early-stop", "calibration", "eval"]
TokenSet = Literal["all", "hard"]
Way = Literal["early exit", "as trained", "alone", "all blocks", "oracle"]
"""A way through the model:

early exit: each token leaves at the first exit whose signal reaches the threshold.
as trained: all tokens leave at one block, as it was before later blocks were trained.
alone: all tokens leave at one block of the finished model.
all blocks: all tokens leave at the last block.
oracle: each token leaves at the block with its lowest loss.
"""
FIXED_DEPTHS: tuple[Way, ...] = ("as trained", "alone", "all blocks")
"""Ways on which all tokens leave at the same block."""


def way_name(way: Way, block: int | None, split: Split = "eval") -> str:
    """Return the name of a way for readers: `early exit`, `block 0 alone`, `block 0 on its training windows`."""
    if block is None:
        return way
    if split == "eval":
        return f"block {block} {way}"
    return f"block {block} on its {'training' if split == 'train' else split} windows"


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage that a run is going to have.

    Attributes:
        name: name in events, random streams and checkpoints, such as `block0.lm`.
        block: block of the stage; None for a stage of all blocks.
        trains: whether the stage produces weights, which a checkpoint keeps.
        ahead: whether the stage sets an exit that needs the later blocks, after all of them are trained.
    """

    name: str
    kind: StageKind
    block: int | None
    trains: bool
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run begins: its stages and sizes.

    Attributes:
        peak_flops: FLOP/s of a matmul on this machine now, with the run's dtype and threads.
        eval_bytes: UTF-8 bytes of the evaluation targets (`core.data.tokenizers`); None in older logs.
        threads: number of threads that it computes with; None in logs of earlier versions.
    """

    stages: tuple[PlannedStage, ...]
    train_tokens: int
    eval_tokens: int
    vocab_size: int
    block_layers: tuple[int, ...]
    parameters: int
    peak_flops: float | None = None
    eval_bytes: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins.

    Attributes:
        epochs, steps: upper bounds on the epochs, and on the steps of one epoch; 0: a loop of somebody else's did not
            tell them.
        tokens: tokens of the stage, or of one epoch.
        reused: whether the results come from a sibling run or from this run's checkpoint.
        flops: mean FLOPs of a step per token; 0 where they are not known beforehand.
        bytes_per_token, val_bytes_per_token: mean UTF-8 bytes of the targets that an LM stage trains on, and of those
            of its early-stopping split; None for other stages and in older logs.
    """

    stage: str
    kind: StageKind
    block: int | None
    epochs: int
    steps: int
    tokens: int
    reused: bool = False
    flops: float = 0.0
    bytes_per_token: float | None = None
    val_bytes_per_token: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One batch, with the mean loss over its tokens (None where nothing is fitted); `epoch` and `step` count from 1."""

    stage: str
    epoch: int
    step: int
    loss: float | None
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over a stage's training set.

    Attributes:
        loss: mean training loss during the epoch: cross-entropy in nats, or the exit classifier's; None where a loop of
            somebody else's did not tell it.
        val_loss: mean cross-entropy on the early-stopping split (LM stages). Where several blocks are trained together,
            both are weighted means over the blocks.
        exit_loss, avg_label: mean loss and label of the exit classifier, where one is fitted.
        improved: whether this is the best epoch so far; `patience_left` epochs may still pass without a better one.
    """

    stage: str
    epoch: int
    loss: float | None
    val_loss: float | None
    exit_loss: float | None
    avg_label: float | None
    improved: bool
    patience_left: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold of an exit, with the distribution of the signal.

    Attributes:
        tokens, hard_tokens: numbers of tokens, and of those below the threshold, in the split that it was set on.
        histogram: counts of the signal in 50 equal bins of [0, 1].
    """

    stage: str
    block: int
    threshold: float
    tokens: int
    hard_tokens: int
    histogram: tuple[int, ...]
    split: Split = "train"

    @property
    def is_on(self) -> bool:
        """Whether some signal in [0, 1] reaches it; else the exit is off."""
        return self.threshold <= 1


@dataclass(frozen=True, slots=True)
class Priced:
    """The price that sets the thresholds of all exits, and what it promises.

    Attributes:
        policy: how it was found: given (`price`), or to reach a target (`savings`, `loss`).
        target: what was asked for: nats for the whole model's cost, a share of the cost, or nats above all blocks.
        cost: what a price is paid for: `layers` or `flops`.
        price: nats for the cost of the whole model.
        savings, excess: share of the cost saved, and mean loss above that of all blocks in nats, on `split`, worked out
            from tokens that went through all blocks.
    """

    stage: str
    policy: str
    target: float
    cost: str
    price: float
    savings: float
    excess: float
    split: Split = "train"


@dataclass(frozen=True, slots=True)
class Measured:
    """Loss and accuracy of one way through the model, on a named split and token set.

    Attributes:
        block: block at which all tokens leave, where `way` is about one block; else None.
        exit_shares: share of the tokens that leave at each block.
        accuracy: share of the predictions that are right; None where a loop of somebody else's did not tell it.
        layer_savings: 1 − layers run ÷ layers of the full model, if exited tokens are really skipped.
        window_losses, window_accuracies, window_savings, window_flop_savings: mean loss, accuracy, and share of layers
            and of FLOPs saved in each window, for paired comparisons; not kept in the event log.
    """

    stage: str
    way: Way
    block: int | None
    split: Split
    token_set: TokenSet
    tokens: int
    loss: float
    accuracy: float | None
    exit_shares: tuple[float, ...]
    layer_savings: float
    window_losses: tuple[float, ...] = ()
    window_accuracies: tuple[float, ...] = ()
    window_savings: tuple[float, ...] = ()
    window_flop_savings: tuple[float, ...] = ()

    def without_windows(self) -> "Measured":
        """Return the same without the figures of single windows."""
        none: tuple[float, ...] = ()
        return replace(self, window_losses=none, window_accuracies=none, window_savings=none, window_flop_savings=none)

    @property
    def name(self) -> str:
        """Name of the way, such as `block 0 alone`; unique in a run, of which a later one replaces an earlier one."""
        return way_name(self.way, self.block, self.split)

    @property
    def shallow_ratio(self) -> float:
        """Share of the tokens that leave before the last block."""
        return sum(self.exit_shares[:-1])


@dataclass(frozen=True, slots=True)
class Savings:
    """Savings of early exit against all blocks without exits, with the cost of the exits included.

    Attributes:
        flops: share of the FLOPs saved; negative where the exits cost more than they save.
        break_even: share of the tokens that must exit early for `flops` to be 0; None if there is no such share, or
            none tells (`deferred`).
        time, time_low, time_high: share of the time saved, measured on the same tokens in turns: median of the
            rounds and its bounds; None for a method that reads the later blocks' losses, which can't be timed.
        tokens, rounds: numbers of timed tokens and of rounds.
        covers: whether low and high are a 95% interval of the median; in older logs they are quartiles of the rounds.
        busy: what kept the machine busy meanwhile; empty if nothing did.
    """

    stage: str
    flops: float
    break_even: float | None
    time: float | None = None
    time_low: float | None = None
    time_high: float | None = None
    tokens: int = 0
    rounds: int = 0
    covers: bool = False
    busy: str = ""


@dataclass(frozen=True, slots=True)
class Strided:
    """Losses on overlapping windows of the evaluation text, in which each token counts once.

    Attributes:
        stride: tokens from the beginning of a window to that of the next; only a window's last ones count.
        tokens: number of tokens that count.
        full: mean loss of all blocks, nats.
        early: that of early exit; None without exits, and for a method that reads the later blocks' losses.
    """

    stage: str
    stride: int
    tokens: int
    full: float
    early: float | None


@dataclass(frozen=True, slots=True)
class TokensMeasured:
    """One block's results for every evaluated token, in order, when all tokens go through all blocks.

    The columns are bytes of float32 arrays in the machine's byte order (prediction: int32). They are stored beside the
    event log, never in it, and change no `RunState`; `core.analysis.token_table` makes matrices of them.

    Attributes:
        cross_entropy: loss in nats.
        signal: exit signal of the run's method; empty for the last block, and without exits. The tokens whose signal at
            block 0 reaches the run's threshold are those that exited there.
        max_prob: largest probability.
        prediction: id of the most probable token.
    """

    block: int
    cross_entropy: bytes = field(repr=False)
    signal: bytes = field(repr=False)
    max_prob: bytes = field(repr=False)
    prediction: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Profiled:
    """The profile of a stage.

    Attributes:
        seconds: duration of the whole stage when it was computed, as in `StageEnded`, without pauses.
        parts: names of the timed parts (`core.machine.clock`); they need not cover the whole stage.
        part_seconds, part_flops: duration and FLOPs of each part.
    """

    stage: str
    seconds: float
    parts: tuple[str, ...]
    part_seconds: tuple[float, ...]
    part_flops: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage is complete.

    `seconds` is its duration when it was computed, also where it is reused; for a resumed stage, that of the last leg.
    """

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning for the reader of the numbers."""

    message: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is complete; `peak_memory` is the process's largest resident size so far, in bytes.

    `seconds`, as in the other terminal events, is the duration of this leg, without a resumed run's earlier legs.
    """

    seconds: float
    peak_memory: int


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run failed; `traceback` is empty where the message is enough."""

    message: str
    traceback: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunInterrupted:
    """The run was stopped before its end, for the given reason."""

    reason: str
    seconds: float


Event = (
    RunStarted
    | StageStarted
    | Step
    | Epoch
    | Threshold
    | Priced
    | Measured
    | TokensMeasured
    | Savings
    | Strided
    | Profiled
    | StageEnded
    | Warned
    | RunFinished
    | RunFailed
    | RunInterrupted
)
TerminalEvent = RunFinished | RunFailed | RunInterrupted
Publish = Callable[[int, Sequence[Event]], None]
"""Takes what has happened in a run, by its number."""


def epoch_of_step(event: Event) -> tuple[str, int] | None:
    """Return stage and epoch of a step, and None of any other event: the key that consecutive steps are joined by."""
    return (event.stage, event.epoch) if isinstance(event, Step) else None
