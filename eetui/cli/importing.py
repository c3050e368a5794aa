"""The command that imports tokens that somebody else's model and code measured."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from core.errors import UsageError
from eetui.cli.choices import CHOICES, listed
from eetui.cli.options import Database, as_share, on_database
from eetui.drawing.harmless import one_line

if TYPE_CHECKING:
    from core.importing.run import Imported


def import_tokens(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Arrays of tokens: .npz or .parquet.")],
    name: Annotated[str | None, typer.Option(help="Name of the run. [default: the file's]")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag of the run; again for more.")] = None,
    loss_budget: Annotated[
        float | None, typer.Option(min=0, help="Set exits to add at most so many nats. [default: 0.01]")
    ] = None,
    savings: Annotated[str | None, typer.Option(help="Instead: to save this share of the cost, such as 30%.")] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Instead: at this price of the whole model's cost, nats.")
    ] = None,
    exit_rate: Annotated[
        str | None, typer.Option(help="Instead: so that this share of the arriving tokens leave at each exit.")
    ] = None,
    cost: Annotated[
        str | None, typer.Option(help="What a price is paid for: layers, or flops for the costs given. [default: them]")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Share of the windows that set exits, where the file does not say. [default: 20%]"),
    ] = None,
    seq_len: Annotated[int | None, typer.Option(min=1, help="Tokens of a window, for arrays without windows.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers of each exit's block, such as 4,4,4.")] = None,
    costs: Annotated[
        str | None, typer.Option(help="Cost of a token that leaves at each exit, in any unit, such as 1.1,2.1,3.")
    ] = None,
    signal_costs: Annotated[
        str | None, typer.Option(help="Cost of the signal of a token that arrives at each exit but the last.")
    ] = None,
    claims: Annotated[
        str | None, typer.Option(help=f"What the signal claims to be: {listed(CHOICES['--claims'])}.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Name of the signal, for lists.")] = None,
    *,
    db: Database,
) -> None:
    """Import tokens that your own model and code measured, as a finished run."""
    from core.importing.run import import_file
    from core.importing.settings import Aim
    from core.store.writer import Writer

    given = {
        "seq_len": seq_len,
        "layers": _numbers("--layers", layers),
        "costs": _numbers("--costs", costs),
        "signal_costs": _numbers("--signal-costs", signal_costs),
        "claims": claims,
        "method": method,
    }
    aim = Aim(
        loss_budget=loss_budget,
        savings=as_share("--savings", savings),
        price=price,
        exit_rate=as_share("--exit-rate", exit_rate),
        cost=_cost(cost),
        calibration=as_share("--calibration", calibration),
    )
    with Writer(db) as store:
        done = import_file(file, store, name=name, tags=tag or (), given=given, aim=aim)
    print("\n".join(map(one_line, import_lines(done, on_database(db)))), file=sys.stderr)
    print(done.number)


def import_lines(done: "Imported", where: str = "") -> list[str]:
    """Say what was imported, and what to type next.

    Args:
        where: what the commands need behind them (`on_database`).
    """
    final = done.state.final
    assert final is not None, "what was imported is measured"
    held = f", its exits set on {done.calibration_tokens:,} others" if done.calibration_tokens else ""
    found = [
        f"imported {done.name} as run {done.number}: {done.tokens:,} tokens, {len(final.exit_shares)} exits{held}",
        *(f"! {warning}" for warning in done.state.warnings),
    ]
    if done.unused:
        found.append(f"! not used: {', '.join(done.unused)} (docs/importing.md lists the arrays)")
    commands = ", ".join(f"eetui {command} {done.number}{where}" for command in ("show", "quality"))
    return [*found, f"next: {commands}, or i on it in the console (eetui{where})"]


def _numbers(option: str, text: str | None) -> list[float] | None:
    """Read numbers separated by commas.

    Raises:
        UsageError: they are something else.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} takes numbers separated by commas, such as 1,2,3, got {text!r:.80}") from None


def _cost(text: str | None) -> Literal["layers", "flops"] | None:
    match text:
        case None | "layers" | "flops":
            return text
    raise UsageError(f"--cost must be layers or flops, got {text!r:.80}")
