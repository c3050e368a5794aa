"""A run's events as lines of text, for the log pane and for headless runs."""

from core.config.derived import COST_NAMES
from core.events import (
    Epoch,
    Event,
    Measured,
    Priced,
    Profiled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    Savings,
    StageEnded,
    StageStarted,
    Step,
    Strided,
    Threshold,
    TokensMeasured,
    Warned,
)
from core.formulas import perplexity
from core.metrics import measured_bits
from core.state import RunState, StageState
from eetui.drawing.figures import duration, figure, price
from eetui.drawing.harmless import lines
from eetui.summary.priced_text import asked_for
from eetui.summary.progress import bound_sign, seconds_left


def line_of(event: Event, state: RunState) -> str | None:
    """Return the line of an event, harmless to a terminal, or None if it is not worth one."""
    line = _line_of(event, state)
    return None if line is None else lines(line)


def _line_of(event: Event, state: RunState) -> str | None:
    match event:
        case RunStarted(train_tokens=0, eval_tokens=0):
            return "starts"
        case RunStarted():
            return (
                f"starts: {event.train_tokens:,} training and {event.eval_tokens:,} evaluation tokens, vocabulary "
                f"{event.vocab_size:,}, {event.parameters:,} parameters"
            )
        case StageStarted(stage=stage, reused=True):
            return f"{stage}  reused from a sibling run or this run's checkpoint"
        case Epoch():
            return _epoch_line(event, state)
        case Threshold():
            share = event.hard_tokens / max(1, event.tokens)
            threshold = figure(event.threshold, "signal")
            return f"{event.stage}  threshold {threshold}  hard tokens {event.hard_tokens:,} ({share:.1%})"
        case Priced():
            return _price_line(event)
        case Measured():
            return _measured_line(event, state)
        case Savings():
            return _savings_line(event)
        case Strided():
            early = "" if event.early is None else f", early exit {perplexity(event.early):.2f}"
            return (
                f"{event.stage}  with a stride of {event.stride} tokens: all blocks PPL {perplexity(event.full):.2f}"
                f"{early} ({event.tokens:,} tokens)"
            )
        case Warned():
            return f"! {event.message}"
        case RunFinished():
            return f"finished in {duration(event.seconds)}, peak memory {event.peak_memory / 2**20:,.0f} MiB"
        case RunFailed():
            return f"failed: {event.message}\n{event.traceback}".rstrip()
        case RunInterrupted():
            return f"interrupted: {event.reason}"
        case Step() | StageStarted() | Profiled() | StageEnded() | TokensMeasured():
            return None


def _price_line(event: Priced) -> str:
    """Return the line of a price and what it promises."""
    return (
        f"{event.stage}  price {price(event.price)} nats for all {COST_NAMES[event.cost]}, {asked_for(event)}: "
        f"{event.savings:.1%} saved at {event.excess:+.4f} nats ({event.split} windows)"
    )


def _epoch_line(event: Epoch, state: RunState) -> str:
    stage = next((stage for stage in state.stages if stage.name == event.stage), None)
    of = f"/{stage.epochs}" if stage and stage.epochs else ""  # a damaged log may lack the beginning of a stage
    loss = "" if event.loss is None else f"  loss {event.loss:.4f}"
    parts = [f"{event.stage}  epoch {event.epoch}{of}{loss}"]
    if event.val_loss is not None:
        bits = stage.val_bits(event.val_loss) if stage else None
        parts.append(
            f"val PPL {perplexity(event.val_loss):.2f}{'' if bits is None else f', {bits:.4f} bits/byte'}"
            f"{'' if event.improved or event.patience_left is None else f' (patience {event.patience_left})'}"
        )
    if event.exit_loss is not None and event.val_loss is not None:
        parts.append(f"exit loss {event.exit_loss:.4f}")
    if event.avg_label is not None:
        parts.append(f"avg_label {event.avg_label:.4f}")
    parts.append(duration(event.seconds))
    return "  ".join(parts + (_pace(stage) if stage else []))


def _measured_line(event: Measured, state: RunState) -> str:
    """Return the line of a measured result; savings are part of it only if tokens left at different blocks."""
    bits = measured_bits(state, event)
    line = (
        f"{event.stage}  {event.name}: PPL {perplexity(event.loss):.2f} ({event.split}, {event.token_set} tokens)"
        + ("" if bits is None else f"  {bits:.4f} bits/byte")
        + ("" if event.accuracy is None else f"  accuracy {event.accuracy:.2%}")
    )
    if max(event.exit_shares, default=1) < 1:
        line += f"  left early {event.shallow_ratio:.1%}  layer savings {event.layer_savings:z.1%}"
    return line


def _savings_line(event: Savings) -> str:
    line = f"{event.stage}  FLOP savings {event.flops:z.1%}"
    if event.break_even is None and event.flops <= 0:
        line += ", which no exit rate would make positive"
    elif event.break_even is not None:
        line += f" (break-even at {event.break_even:.1%} leaving early)"
    if event.time is not None:
        line += f"  time savings {event.time:z.1%} [{event.time_low:z.1%}, {event.time_high:z.1%}]"
        line += f", {'95% interval of the median' if event.covers else 'quartiles'} of {event.rounds} rounds"
        line += f", on a busy machine ({event.busy})" if event.busy else ""
    return line


def live_figures(stage: StageState) -> str:
    """Write loss, rate and time left of a stage in progress; with early stopping the time left is an upper bound."""
    parts = []
    if stage.step_loss is not None:
        parts.append(f"loss {stage.step_loss:.3f}")
    if stage.val_ppl is not None:
        parts.append(f"val PPL {stage.val_ppl:.1f}")
    if stage.avg_label is not None:
        parts.append(f"avg_label {stage.avg_label:.3f}")
    return "  ".join(parts + _pace(stage))


def _pace(stage: StageState) -> list[str]:
    """Return rate and, where it is known, time left of a stage, as parts of a line; none before its first step."""
    rate = stage.tokens_per_second
    if not rate:
        return []
    left = seconds_left(stage)
    eta = [] if left is None else [" ".join(filter(None, ("ETA", bound_sign(stage), duration(left))))]
    return [f"{rate:,.0f} tok/s", *eta]
