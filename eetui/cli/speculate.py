"""The command that tries a run's exits as drafters, and the text of its result."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from core.errors import UsageError
from eetui.cli.generate import Seed, Temperature, TopK, TopP, Window
from eetui.cli.options import AsJson, Database, Reference, output, reading, watched
from eetui.drawing.figures import figure
from eetui.drawing.formats import json_text

if TYPE_CHECKING:
    from core.analysis.speculation_sweep import Sweep, Trial
    from core.config.run_config import RunConfig


def speculate(
    reference: Reference,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Beginning of a text, repeatable. [default: half windows of the evaluated text]"),
    ] = None,
    exits: Annotated[str, typer.Option(help="Exits that draft, such as 0,1. [default: all]")] = "",
    lengths: Annotated[str, typer.Option(help="Draft lengths; the one that is priced is tried besides.")] = "1,2,4,8",
    max_tokens: Annotated[
        int | None, typer.Option(help="Tokens to write after each prompt. [default: half a window, at most 32]")
    ] = None,
    temperature: Temperature = 0.0,
    top_k: TopK = None,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    window: Window = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of the fastest settings.")] = 6,
    as_json: AsJson = False,
    *,
    db: Database,
) -> None:
    """Say which exit should draft, and how many tokens at a time, or that speculation does not pay."""
    from core.analysis.speculation_sweep import PROMPTS, planned, prompts_of, sweep
    from core.analysis.stored_run import stored_run
    from core.analysis.text_generator import open_generator
    from core.early_exit.sampling import GenerationOptions

    chosen = _numbers("--exits", exits), _numbers("--lengths", lengths)
    with reading(db, exact=as_json) as reader:
        number = reader.find(reference)
        half = max(1, (window or stored_run(reader, number).config.data.seq_len) // 2)
        wanted = min(half, 32) if max_tokens is None else max_tokens
        options = GenerationOptions(wanted, temperature, top_k, top_p, seed, window)
        ids = list[list[int]]()

        def check(config: "RunConfig") -> None:
            planned(config, options, *chosen, prompt or ())
            ids.extend([] if prompt else prompts_of(reader, number, PROMPTS, half))

        generator = open_generator(reader, number, check)
    ids += [generator.tokens(text) for text in prompt or ()]
    found = watched(sweep(generator, ids, options, exits=chosen[0], lengths=chosen[1], rounds=rounds))
    if as_json:
        print(sweep_json(found))
    else:
        output().print(sweep_text(found))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """Read whole numbers between commas.

    Raises:
        UsageError: something else is there.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"{option} takes whole numbers such as 1,2,4, got {text!r}") from None


def sweep_json(found: "Sweep") -> str:
    """Write a sweep as JSON."""
    from eetui.generate.speculation_text import speed_json, tally_json

    return json_text(
        asdict(found)
        | {
            "trials": [
                tally_json(trial.tally, trial.drafting) | {"screened": trial.screened, "speed": speed_json(trial.speed)}
                for trial in found.trials
            ],
            "best": {"exit": found.best.drafting.block, "draft": found.best.drafting.length},
            "pays": found.pays,
            "verdict": verdict(found),
        }
    )


def sweep_text(found: "Sweep") -> Group:
    """Write a sweep as a table and a verdict."""
    from eetui.generate.speculation_text import NEVER_FEWER_FLOPS

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in (
        "Exit",
        "Draft",
        "Accepted",
        "Rejected",
        "Share accepted",
        "Tokens a pass",
        "FLOPs ×",
        "Speed ×",
        "95%",
    ):
        table.add_column(head, justify="right")
    for trial in found.trials:
        table.add_row(*_row(trial), style="bold" if trial is found.best else "")
    shares = "   ".join(f"{exit_} {figure(share, 'share')}" for exit_, share in enumerate(found.acceptance))
    head = f"{found.name} (run {found.number}): {found.prompts} prompts, {found.tokens} tokens after each"
    return Group(
        Text(head, style="bold"),
        Text(f"plain decoding: {found.plain:,.1f} tokens/s. {NEVER_FEWER_FLOPS}"),
        Text(),
        table,
        Text(),
        Text(f"Acceptance of a draft on these texts, by exit: {shares}"),
        Text("Speed × of a single round unless it has an interval; FLOPs × and speed × are of plain decoding's."),
        Text(verdict(found), style="bold"),
    )


def _row(trial: "Trial") -> list[str]:
    tally, speed = trial.tally, trial.speed
    between = speed.interval if speed else None
    return [
        str(trial.drafting.block),
        "priced" if trial.drafting.length is None else str(trial.drafting.length),
        str(tally.accepted),
        str(tally.drafted - tally.accepted),
        figure(tally.acceptance, "share"),
        f"{tally.tokens_per_pass:.2f}",
        f"{tally.flops:.2f}",
        f"{speed.ratio if speed else trial.screened:.2f}",
        f"{between.low:.2f} to {between.high:.2f}" if between else "",
    ]


def verdict(found: "Sweep") -> str:
    """Say what to use, or that speculation does not pay."""
    best, speed = found.best, found.best.speed
    assert speed is not None, "the best was timed"
    length = "" if best.drafting.length is None else f" --draft {best.drafting.length}"
    setting = f"--exit {best.drafting.block}{length}"
    between = speed.interval
    spread = f", 95% interval {between.low:.2f} to {between.high:.2f}" if between else ""
    reached = f"{speed.ratio:.2f} times the speed of plain decoding{spread}"
    if found.pays:
        return f"Use {setting}: {reached}."
    return f"Speculation {speed.verdict} here: the fastest setting, {setting}, has {reached}."
