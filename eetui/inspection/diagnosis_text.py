"""A diagnosis as a waterfall in text, what each step is and what repairs it; an ablation as a table; both as JSON."""

import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.analysis.diagnose_run import Diagnosed
from core.analysis.diagnosis import HardTokens, Waterfall, WaterfallStep
from core.config.run_config import RunConfig
from core.formulas import bits_at, perplexity
from eetui.drawing.figures import figure, ppl_and_bits
from eetui.drawing.formats import json_text
from eetui.drawing.palette import PLAIN, Palette

FIGURES_WIDTH, BITS_WIDTH = 69, 11
"""Cells of a line that are not the bar, and more of them with bits per byte."""
NARROWEST_BAR, WIDEST_BAR = 10, 48
WORKED_OUT = "≈"
"""Sign of what was not measured."""
CELLS = {(False, False): " ", (True, False): "▌", (False, True): "▐", (True, True): "█"}


def diagnosis_lines(run: Diagnosed, width: int, colours: Palette = PLAIN) -> RenderableType:
    """Everything about where the perplexity went, for a terminal of that width."""
    waterfall, config = run.diagnosis.waterfall, run.config
    head = Text.assemble((run.name, "bold"), f"  run {run.number}  {config.method_name}, seed {config.seed}, one run")
    total = f"{waterfall.total:+z.4f} nats from training to early exit, on {run.tokens:,} evaluation tokens"
    parts: list[RenderableType] = [head, Text(total, style="dim"), Text()]
    start, end = ends_of(config)
    lengths = run.bytes_per_token, run.start_bytes_per_token
    moved = run.diagnosis.moved
    parts.append(_table(waterfall, start, end, width, colours, *lengths, moved=moved))
    if any(step.worked_out for step in waterfall.steps):
        parts += [
            Text(f"{WORKED_OUT} worked out from tokens that went through every block; the others measured", "dim")
        ]
    parts.append(Text())
    parts += [Text(line) for line in explanations(run, width)]
    parts += [Text(), *_last_block(run, width, colours)]
    return Group(*parts)


def ends_of(config: RunConfig) -> tuple[str, str]:
    """Return the names of the waterfall's first and last loss."""
    start = "Whole model, calibration" if config.protocol == "frozen" else "Training, early stopping"
    return start, "Early exit, evaluation"


def _last_block(run: Diagnosed, width: int, colours: Palette) -> Iterator[RenderableType]:
    """Lost context, on the way of the last block."""
    hard = run.hard_tokens
    if run.measuring:
        yield Text(f"Lost context: being measured: {run.measuring} …", style="italic")
        return
    if hard is None:
        yield Text(f"Lost context: not measured: {run.not_measured}")
        return
    last = len(run.config.model.block_layers) - 1
    found = " (worked out)" if run.diagnosis.moved else ""
    yield Text(f"Beside it: block {last} and its hard tokens, {hard.share:.1%} of all{found}", style="bold")
    yield _table(hard.waterfall, f"Block {last}, early stopping", "Hard tokens, early exit", width, colours)
    yield Text()
    yield from (Text(line) for line in explanations(run, width, hard.waterfall))


def explanations(run: Diagnosed, width: int, way: Waterfall | None = None) -> Iterator[str]:
    """Yield what each step is and what repairs it; `way`: the last block's, else that of the whole run."""
    for step in (way or run.diagnosis.waterfall).steps:
        meaning, repair = told(step, run, hard=way is not None)
        text = f"{title(step, moved=way is None and run.diagnosis.moved)}: {meaning} {repair}"
        yield from textwrap.wrap(text, min(width, 120), subsequent_indent="  ", break_on_hyphens=False)


def title(step: WaterfallStep, *, moved: bool = False) -> str:
    """Return a step's name as it is shown; `moved`: whether other tokens leave once states are what they are."""
    mismatch = "Exited state and exits" if moved else "Exited-state mismatch"
    titles = {"depth": "Depth, exits at random", "exited state": mismatch}
    return titles.get(step.name, step.name.capitalize()) + ("" if step.block is None else f", block {step.block}")


def told(step: WaterfallStep, run: Diagnosed, *, hard: bool) -> tuple[str, str]:
    """Return what a step changes and which switch repairs it; `hard`: of the last block's way."""
    return _hard_meaning(step, run.config) if hard else _meaning(step, run), _repair(step, run.config)


def _meaning(step: WaterfallStep, run: Diagnosed) -> str:
    config = run.config
    match step.name:
        case "split gap" if config.model.imported:
            return "the whole model, from the calibration windows to the evaluation split."
        case "split gap" if config.protocol == "frozen":
            return "the pretrained model whole, from the calibration windows to the evaluation split."
        case "split gap":
            what = "block 0 and its head" if config.protocol == "staged" else "the same model"
            return f"{what}, from the windows that stopped the training to the evaluation split."
        case "head drift":
            tied = ", with the embedding it is tied to" if config.model.tie_embedding else ""
            part = "all tokens" if step.block == 0 else "as far as tokens leave there"
            return f"block {step.block} alone ({part}), before and after later blocks moved its head{tied}."
        case "depth":
            leave = _shares(run.diagnosis.target_shares)
            return f"what later blocks are worth when tokens picked by chance leave as was meant: {leave}."
        case "exit rate":
            leave = _shares(run.diagnosis.exit_shares)
            return f"still by chance, as many leave as would: {leave} (worked out); the signals are of other text."
        case "exit decisions":
            return f"as many leave, picked by {config.method_name} instead of chance. {_oracle(run)}"
        case _ if config.exit.exited_state == "deferred":
            return (
                f"from tokens that all went through all blocks to early exit as it ran: rounding alone, as later "
                f"blocks have the exact states of those that left.{_moved(run)}"
            )
        case _:
            return (
                f"from tokens that all went through all blocks to early exit as it ran: to later blocks, those that "
                f"left are what exited_state={config.exit.exited_state} makes of them.{_moved(run)}"
            )


def _moved(run: Diagnosed) -> str:
    """Say how many really left at each block, where it is not what the steps before were worked out with."""
    found = run.diagnosis
    if not found.moved:
        return ""
    return (
        f" Other tokens leave, too: {_shares(found.measured_shares)} (measured), so this step is of both the "
        f"states and who leaves; the steps before it count with the shares that are worked out."
    )


def _shares(shares: Iterable[float]) -> str:
    return ", ".join(f"{share:.1%} at block {block}" for block, share in enumerate(shares))


def _oracle(run: Diagnosed) -> str:
    """Say how far the exits are from the oracle."""
    diagnosis = run.diagnosis
    found = "" if diagnosis.share_of_possible is None else f"; {diagnosis.share_of_possible:.0%} of that is found"
    return f"Who knew all losses would gain {diagnosis.at_random - diagnosis.oracle:.4f} (oracle, same rates){found}."


def _hard_meaning(step: WaterfallStep, config: RunConfig) -> str:
    match step.name:
        case "split gap":
            return (
                "the block on hard tokens handed on as in training, of the early-stopping windows and of the "
                "evaluation split."
            )
        case "lost context" if config.exit.hard_tokens == "mask":
            return "none: hard tokens stay in their own windows in training as in evaluation."
        case "lost context":
            return (
                "the same tokens and weights, from windows packed without their easy neighbours, as in training, to "
                "their own windows. Below 0, the context helps; above, the block has learned packed windows. No step "
                "of the way above: evaluation packs nothing. What training with context is worth, eetui ablate shows."
            )
        case _:
            state = config.exit.exited_state
            return f"the same tokens in early exit, the others being what exited_state={state} makes of them."


def _repair(step: WaterfallStep, config: RunConfig) -> str:
    """Name the switch that repairs a step, or is worth a try; its value where it is set already."""
    train, leaving = config.train, config.exit
    match step.name:
        case "split gap" if config.protocol == "frozen":
            return "Both are text that nothing was trained on: the difference is the text's."
        case _ if config.model.imported:
            return ""  # no switch of ours trained it
        case "depth" if config.protocol == "frozen":
            return _try("model.readout", config.model.readout, "affine", "a map of its own before each exit's head")
        case "split gap":
            return _switch("train.split", train.split, "contiguous", "early stopping then sees other text")
        case "head drift":
            return _switch("train.head", train.head, "frozen", "or per_block: no later block moves it")
        case "depth":
            return _try("train.later_init", train.later_init, "identity", "and more or deeper later blocks")
        case "exit rate":
            return _try("exit.calibration", leaving.calibration, "heldout", "and head=frozen, where it reads the head")
        case "exit decisions":
            return _try("exit.calibration", leaving.calibration, "heldout", "and another method, such as gain")
        case "exited state" if leaving.exited_state == "deferred":
            return "exit.exited_state=deferred is set."
        case "exited state" if leaving.exited_state == "linear":
            return "Try: exit.exited_state=deferred (exact, and saves less)."
        case "exited state" if config.protocol == "frozen":
            return _try("exit.exited_state", leaving.exited_state, "linear", "or deferred, exact, which saves less")
        case "exited state":
            why = "with hard_tokens=mask, later blocks train on what they will meet"
            return _try("exit.exited_state", leaving.exited_state, "copy", why)
        case "lost context":
            return _switch("exit.hard_tokens", leaving.hard_tokens, "mask", "hard tokens keep their context")


def _switch(name: str, value: str, repaired: str, why: str, verb: str = "Repair") -> str:
    return f"{name}={repaired} is set." if value == repaired else f"{verb}: {name}={repaired} ({why})."


def _try(name: str, value: str, repaired: str, why: str) -> str:
    """Name a switch that may cost elsewhere what it gains: the ablation tells."""
    return _switch(name, value, repaired, why, "Try")


def _table(
    waterfall: Waterfall,
    start: str,
    end: str,
    width: int,
    colours: Palette,
    bytes_per_token: float | None = None,
    start_bytes_per_token: float | None = None,
    *,
    moved: bool = False,
) -> Table:
    """Draw a waterfall; with bits per byte where there is room and the bytes of the evaluated tokens are known."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for head in ("Step", ""):
        table.add_column(head, no_wrap=True)
    if width < FIGURES_WIDTH + BITS_WIDTH + NARROWEST_BAR:
        bytes_per_token = None
    per_byte = bytes_per_token is not None
    for head in ("Nats", "95% interval", "PPL", *["Bits/byte"] * per_byte):
        table.add_column(head, justify="right", no_wrap=True)
    levels = waterfall.levels
    taken = FIGURES_WIDTH + BITS_WIDTH * per_byte
    scale = min(levels), max(levels), max(NARROWEST_BAR, min(WIDEST_BAR, width - taken))
    first = [
        figure(perplexity(levels[0]), "ppl"),
        *[figure(bits_at(levels[0], start_bytes_per_token), "bits")] * per_byte,
    ]
    table.add_row(start, step_bar(levels[0], levels[0], *scale), "", "", *first)
    for step in waterfall.steps:
        shown = step_bar(step.before, step.after, *scale)
        interval = "" if step.interval is None else f"[{step.interval[0]:+z.4f}, {step.interval[1]:+z.4f}]"
        style = colours.bad if step.nats > 0 else colours.good
        sign = WORKED_OUT if step.worked_out else ""
        after = [f"{sign}{cell}" for cell in ppl_and_bits(step.after, bytes_per_token)]
        table.add_row(title(step, moved=moved), Text(shown, style=style), f"{step.nats:+z.4f}", interval, *after)
    bar, last = step_bar(waterfall.end, waterfall.end, *scale), ppl_and_bits(waterfall.end, bytes_per_token)
    table.add_row(end, bar, f"{waterfall.total:+z.4f}", "", *last, style="bold")
    return table


def step_bar(before: float, after: float, low: float, high: float, width: int) -> str:
    """Draw a bar from one loss to another, in half cells: at least one where they differ, one where they do not."""
    halves = 2 * width
    first, last = (
        min(int((loss - low) / (high - low) * halves), halves - 1) if low < high < math.inf else 0
        for loss in sorted((before, after))
    )
    filled = [first <= half <= last for half in range(halves)]
    return "".join(CELLS[filled[cell], filled[cell + 1]] for cell in range(0, halves, 2))


def diagnosis_json(run: Diagnosed) -> str:
    """Everything, unrounded; losses in nats."""
    diagnosis, hard = run.diagnosis, run.hard_tokens
    data: dict[str, Any] = {
        "run": run.number,
        "name": run.name,
        "method": run.config.method_name,
        "seed": run.config.seed,
        "tokens": run.tokens,
        "bytes_per_token": run.bytes_per_token,
        **_json_waterfall(diagnosis.waterfall, run, hard=False),
        "exit_shares": diagnosis.exit_shares,
        "measured_shares": diagnosis.measured_shares,
        "at_random": diagnosis.at_random,
        "own": diagnosis.own,
        "oracle": diagnosis.oracle,
        "share_of_possible": diagnosis.share_of_possible,
        "hard_tokens": None if hard is None else _json_hard(hard, run),
        "not_measured": run.not_measured or None,
    }
    return json_text(data)


def _json_hard(hard: HardTokens, run: Diagnosed) -> dict[str, Any]:
    return {"share": hard.share, **_json_waterfall(hard.waterfall, run, hard=True)}


def _json_waterfall(waterfall: Waterfall, run: Diagnosed, *, hard: bool) -> dict[str, Any]:
    steps = [
        {**asdict(step), "nats": step.nats, **dict(zip(("meaning", "repair"), told(step, run, hard=hard), strict=True))}
        for step in waterfall.steps
    ]
    return {"start": waterfall.start, "end": waterfall.end, "total": waterfall.total, "steps": steps}
