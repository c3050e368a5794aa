"""A calibration as a Rich table with its guarantee, or as JSON."""

from collections.abc import Callable, Iterator
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.analysis.calibrate_run import Calibrated, Effect
from core.pricing.thresholds import is_on
from eetui.drawing.figures import figure, number_of
from eetui.drawing.formats import json_text

ROWS: tuple[tuple[str, Callable[[Effect], str]], ...] = (
    ("PPL, all blocks", lambda effect: figure(effect.all_blocks_ppl, "ppl")),
    ("Bits per byte, all blocks", lambda effect: figure(effect.all_blocks_bits_per_byte, "bits")),
    ("PPL, early exit", lambda effect: figure(effect.ppl, "ppl")),
    ("Bits per byte, early exit", lambda effect: figure(effect.bits_per_byte, "bits")),
    ("PPL increase", lambda effect: f"{effect.ppl_increase:+z.2%}"),
    ("Excess, nats", lambda effect: f"{effect.excess:+z.4f}"),
    ("Shallow ratio", lambda effect: figure(effect.shallow_ratio, "share")),
    ("Layer savings", lambda effect: figure(effect.layer_savings, "share")),
    ("FLOP savings", lambda effect: figure(effect.flop_savings, "share")),
)


def calibration_table(result: Calibrated) -> RenderableType:
    """Show the thresholds, their guarantee and their effects, for a terminal."""
    return Group(
        Text.assemble((result.name, "bold"), f"  run {result.run}  {result.exit_method}"),
        Text(threshold_line(result), style="bold"),
        Text(result.choice.guarantee),
        Text(units_line(result), style="dim"),
        Text(),
        _effects(result),
        *(Text(line) for line in violation_lines(result)),
        *(Text(f"! {note}", style="yellow") for note in result.notes),
    )


def threshold_line(result: Calibrated) -> str:
    """Write the thresholds to set."""
    if result.choice.thresholds is None:
        return "never exit"
    shown = ", ".join(f"{each:.6g}" if is_on(each) else "off" for each in result.choice.thresholds)
    return f"exit where the signal is at least {shown}" + (" (one threshold an exit)" if "," in shown else "")


def units_line(result: Calibrated) -> str:
    """Write how many units set the candidates, calibrate and test."""
    aside, calibrating, testing = result.units
    size = number_of(result.unit_windows, "window")
    return f"units of {size}: {calibrating} calibrate, {testing} test, {aside} set the candidates"


def violation_lines(result: Calibrated) -> Iterator[str]:
    """Yield lines on how often the guarantee's limit was exceeded over resplits."""
    seen, request = result.choice.violations, result.request
    if seen is None or request.max_ppl_increase is None:
        return
    aim = ""
    if (expected := result.choice.violations_expected) is not None:
        aim = f"; the promise, of capped excess, allows {request.delta:.0%}, which may look like {expected:.0%} here"
    yield (
        f"Over {seen.resplits} random halvings, without the cap and on units not used for choosing, the PPL rose by "
        f"more than {request.max_ppl_increase:.2%} in {seen.rate:.1%}{aim}; mean excess {seen.mean_excess:+z.4f} nats, "
        f"{1 - seen.shares[-1]:.1%} of tokens left early, no threshold was safe in {seen.never:.0%}"
    )
    if (apart := result.choice.violations_in_pieces) is not None:
        excess = f"mean excess {apart.mean_excess:+z.4f} nats"
        yield f"With each half in one piece of the text: in {apart.rate:.1%}; {excess}"


def calibration_json(result: Calibrated) -> str:
    """Write everything as JSON, unrounded; losses in nats."""
    return json_text(asdict(result))


def _effects(result: Calibrated) -> Table:
    """Show the effects on both halves, beside those of the run's own thresholds on the test half."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Evaluation split")
    for head in ("Calibration half", "Test half", "Test half, the run's own thresholds"):
        table.add_column(head, justify="right")
    effects = (result.calibration, result.test, result.own)
    for label, shown in ROWS:
        table.add_row(label, *map(shown, effects))
    return table
