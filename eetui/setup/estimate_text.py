"""An estimate as text: a table beside the form, or lines below it."""

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from core.estimate.estimate import Estimate
from core.estimate.workload import Span
from eetui.drawing.figures import duration, figure


@dataclass(frozen=True)
class Forecast:
    """The newest estimate and its state.

    Attributes:
        state: short text such as `measuring…`; empty if the figures are those of the form as it is.
        problem: reason for which there are no figures.
        beside_training: whether it was measured while a run was training.
    """

    estimate: Estimate | None = None
    state: str = ""
    problem: str = ""
    beside_training: bool = False


def headline(forecast: Forecast) -> Text:
    """Write the heading, with the state of the estimate or a warning that it is unreliable."""
    line = Text("Estimate", style="bold", no_wrap=True, overflow="ellipsis")
    notes = [forecast.state]
    if forecast.beside_training and forecast.estimate and not forecast.state:
        notes = ["time measured while training: unreliable"]
    for note in filter(None, notes):
        line.append(f"  {note}", "italic not bold")
    return line


def forecast_lines(forecast: Forecast) -> Text:
    """Write the figures as two lines, for below the form."""
    if forecast.problem or forecast.estimate is None:
        return Text(forecast.problem)
    facts = {name: figures + unit for name, figures, unit in _facts(forecast.estimate)}
    first = " · ".join(facts[name] for name in ("runs", "text", "vocabulary", "weights"))
    second = " · ".join(facts[name] for name in ("compute", "time", "memory", "states", "epochs") if name in facts)
    return Text(f"{first}\n{second}", style="dim" if forecast.state else "", no_wrap=True, overflow="ellipsis")


def forecast_table(forecast: Forecast) -> Text | Table:
    """Write the figures as a table, for beside the form."""
    if forecast.problem or forecast.estimate is None:
        return forecast_lines(forecast)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(style="dim" if forecast.state else "")
    for name, figures, _ in _facts(forecast.estimate):
        table.add_row(name, figures)
    return table


def amount(values: Span, unit: str) -> str:
    """Write a span with three digits and one prefix for both ends: `503 MB`, `0.93–8.4 TFLOP`, `787 k weights`."""
    prefixes, scale = ("", "k", "M", "G", "T", "P", "E"), 0
    while values.high / 1000**scale >= 999.5 and scale < len(prefixes) - 1:
        scale += 1
    low, high = (f"{value / 1000**scale:.3g}" for value in (values.low, values.high))
    return f"{low if low == high else f'{low}–{high}'} {prefixes[scale]}{unit}".replace("  ", " ")


def rough_duration(seconds: float) -> str:
    """Write a duration in whole seconds or coarser: `8s`, `2m05s`, `1h02m`."""
    return duration(round(seconds)) if seconds >= 59.5 else f"{max(1, round(seconds))}s"


def _facts(estimate: Estimate) -> list[tuple[str, str, str]]:
    """Return name and text of each figure, and the unit that it needs where its name is not shown."""
    train, evaluation = figure(estimate.train_tokens, "count"), figure(estimate.eval_tokens, "count")
    shortest, longest = rough_duration(estimate.seconds.low), rough_duration(estimate.seconds.high)
    place = "" if estimate.device == "cpu" else f" on {estimate.device}"
    states = ("states", f"{amount(_exactly(estimate.states), 'B')} on disk", " of states")
    return [
        ("runs", f"{estimate.runs:,}", f" run{'' if estimate.runs == 1 else 's'}"),
        ("text", f"{train} + {evaluation} tokens", ""),
        ("vocabulary", f"{estimate.vocab_size:,}", " words"),
        ("weights", amount(_exactly(estimate.parameters), "").strip(), " weights"),
        ("epochs", amount(estimate.epochs, " epochs a block"), ""),
        ("trained on", amount(estimate.trained_tokens, " tokens"), ""),
        ("compute", amount(estimate.flops, "FLOP"), ""),
        ("time", shortest if shortest == longest else f"{shortest}–{longest}", ""),
        ("memory", f"{amount(_exactly(estimate.memory), 'B')}{place}", " memory" if not place else ""),
        *([states] if estimate.states else []),
    ]


def _exactly(value: float) -> Span:
    return Span(value, value)
