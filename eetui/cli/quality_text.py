"""Exit quality as Rich tables or JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.analysis.exit_quality import IN_NATS, ExitQuality, Quality, Ranking
from core.analysis.reliability import Reliability
from core.analysis.run_quality import RunQuality
from core.analysis.token_table import Integers
from core.analysis.tradeoff import TradeOff
from core.exits._facts import Claim
from core.formulas import bits_at
from core.metrics import Unit
from eetui.cli.priced_text import BEATS, LOSES, PRICED_LEGEND, SHOWN_POINTS, priced_json, priced_line, priced_table
from eetui.drawing.figures import MISSING, figure, ppl_and_bits
from eetui.drawing.formats import json_text
from eetui.drawing.tables import headed_table

BARS = " ▁▂▃▄▅▆▇█"
BARS_SHOWN = 25
LEGEND = f"{BEATS} saves, and is clearly better than the static depths that save as much (95%); {LOSES} not"
DEFERRED_NOTE = (
    "exited_state=deferred: losses above are exact, as later tokens read exact keys and values of those that left. "
    "Savings are bounds: layers after an exit are computed for later tokens that go deeper, and only what none needed "
    "is saved (eetui show, eetui calibrate). Layers saved are of each token's own way, as if none needed them, and "
    "FLOPs saved as if all did, unless every token leaves: the truth lies between"
)
CLAIM_WORDS = {"gain": "a gain, nats", "price": "a price, nats", "rank": "an order only"}
"""How a claim is written where its name does not say it."""


def quality_tables(run: RunQuality) -> RenderableType:
    """Show everything about a run's exits, for a terminal."""
    quality = run.quality
    head = Text.assemble((run.name, "bold"), f"  run {run.number}  {run.tokens:,} tokens of the evaluation split")
    return Group(
        head,
        Text("worked out from tokens that went through every block, each exit judged on all of them", style="dim"),
        Text(),
        _exits_table(quality.exits),
        *(
            _reliability_table(judged.block, judged.claims, judged.signal)
            for judged in quality.exits
            if judged.signal is not None
        ),
        _curve_table(quality, run.bytes_per_token),
        Text(LEGEND, style="dim"),
        Text(),
        priced_table(quality.priced_layers, quality.layers, "layers", run.bytes_per_token),
        priced_table(quality.priced_flops, quality.flops, "FLOPs", run.bytes_per_token),
        Text(PRICED_LEGEND, style="dim"),
        *(Text(line) for line in summary_lines(quality)),
        *([Text(DEFERRED_NOTE)] if run.deferred else []),
    )


def summary_lines(quality: Quality) -> Iterator[str]:
    """Yield lines that summarise exit shares, curve, overthinking, oracle and last block."""
    shares = ", ".join(f"{share:.1%} at block {block}" for block, share in enumerate(quality.as_run))
    yield f"At the run's own thresholds tokens leave {shares}"
    for name, trade in (("layers", quality.layers), ("FLOPs", quality.flops)):
        yield f"One exit rate, by {name}: {_advantage(trade)}"
    for name, curve in (("layers", quality.priced_layers), ("FLOPs", quality.priced_flops)):
        yield priced_line(curve, name)
    thinking = quality.overthinking
    yield (
        f"Overthinking: {thinking.destructive:.2%} of tokens are wrong at the last block though an earlier one had "
        f"them right, which costs {figure(thinking.cost, 'nats')} nats per token; {thinking.wasteful:.2%} were right "
        f"already"
    )
    yield f"The oracle would save {figure(thinking.regret, 'nats')} nats per token over all blocks"
    yield f"Last block: calibration error of its largest probability {quality.last.error:.4f} ({_bias(quality.last)})"


def quality_json(run: RunQuality) -> str:
    """Write everything as JSON, unrounded; losses in nats, savings as shares of the full model.

    Bits per byte are a loss over `bytes_per_token` and ln 2; those of the curve are there.
    """
    quality = run.quality
    curve = quality.curve
    data = {
        "run": run.number,
        "name": run.name,
        "method": run.method,
        "tokens": run.tokens,
        "bytes_per_token": run.bytes_per_token,
        "exits": [_json_exit(judged) for judged in quality.exits],
        "last": _json_reliability(quality.last),
        "overthinking": {
            "wasteful": quality.overthinking.wasteful,
            "destructive": quality.overthinking.destructive,
            "cost": quality.overthinking.cost,
            "regret": quality.overthinking.regret,
        },
        "exit_histogram": quality.as_run.tolist(),
        "static": {
            "losses": quality.static_losses.tolist(),
            "bits_per_byte": [bits_at(loss, run.bytes_per_token) for loss in quality.static_losses.tolist()],
            "layer_savings": list(quality.savings.layers),
            "flop_savings": list(quality.savings.static_flops),
        },
        "curve": {
            "rates": curve.rates.tolist(),
            "thresholds": curve.thresholds.tolist(),
            "losses": curve.loss.tolist(),
            "bits_per_byte": [bits_at(loss, run.bytes_per_token) for loss in curve.loss.tolist()],
            "exit_shares": curve.shares.tolist(),
        },
        "layers": _json_trade_off(quality.layers),
        "flops": _json_trade_off(quality.flops),
        "priced": {"layers": priced_json(quality.priced_layers), "flops": priced_json(quality.priced_flops)},
    }
    return json_text(data)


def bars(counts: Integers, width: int = BARS_SHOWN) -> str:
    """Draw counts as `width` bars: the highest is full, and only a count of 0 is empty."""
    groups = np.array([part.sum() for part in np.array_split(counts, width)])
    heights = np.ceil(groups / max(1, groups.max()) * (len(BARS) - 1)).astype(int)
    return "".join(BARS[height] for height in heights)


def _advantage(trade: TradeOff) -> str:
    """Write how far a curve is below or above the static line."""
    if trade.mean_gain is None:
        return "nothing is saved"
    side = "below" if trade.mean_gain > 0 else "above"
    of_possible = "" if trade.share_of_possible is None else f", {trade.share_of_possible:.0%} of what is possible"
    return (
        f"{abs(trade.mean_gain):.4f} nats {side} the static line on average (area {trade.area:+z.5f} nats × savings"
        f"{of_possible}); clearly below it (95% over windows) at {trade.beats.mean():.0%} of the exit rates"
    )


def _exits_table(exits: Sequence[ExitQuality]) -> Table:
    table = headed_table("Exits: what the signal knows", ["", *(f"Exit {judged.block}" for judged in exits)])
    rows: list[tuple[str, list[str]]] = [
        ("AUROC: the block is right", [_ranking(judged.correct) for judged in exits]),
        ("AUROC: the next block is no better", [_ranking(judged.next_no_better) for judged in exits]),
        ("AUROC: the last block is no better", [_ranking(judged.last_no_better) for judged in exits]),
        ("Signal is read as", [CLAIM_WORDS.get(judged.claims, judged.claims) for judged in exits]),
        *_calibration_rows(exits),
        ("ECE of the largest probability", [_error(judged.confidence) for judged in exits]),
        ("Signal from 0 to 1", [bars(judged.histogram) for judged in exits]),
    ]
    for label, cells in rows:
        table.add_row(label, *(Text(cell) for cell in cells))
    return table


def _calibration_rows(exits: Sequence[ExitQuality]) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of the calibration error; none where the signals claim an order only."""
    judged = [exit_quality for exit_quality in exits if exit_quality.signal is not None]
    if judged:
        label = "Error of the claimed gain, nats" if judged[0].claims in IN_NATS else "ECE of the signal"
        yield label, [_error(exit_quality.signal) for exit_quality in exits]


def _error(diagram: Reliability | None) -> str:
    return MISSING if diagram is None else f"{diagram.error:.4f} ({_bias(diagram)})"


def _ranking(ranking: Ranking) -> str:
    if ranking.auroc is None:
        return f"{MISSING} ({ranking.share:.0%} of tokens)"
    return f"{ranking.auroc:.3f} ({ranking.share:.0%} of tokens)"


def _bias(diagram: Reliability) -> str:
    return f"claims {abs(diagram.bias):.4f} too {'much' if diagram.bias > 0 else 'little'}"


def _reliability_table(block: int, claims: Claim, diagram: Reliability) -> Table:
    unit: Unit = "signal"
    title, heads = f"Exit {block}: reliability of the signal, read as {claims}", ["Tokens", "Signal", "Found", "Gap"]
    if claims in IN_NATS:
        unit, heads = "nats", ["Tokens", "Claimed", "Realised", "Gap"]
        saves = f"block {block + 1} saves" if claims == "gain" else "going on saves at the signal's own price"
        title = f"Exit {block}: nats that {saves}, claimed and realised, by decile of the claim"
    table = headed_table(title, heads)
    for count, claimed, found in zip(diagram.counts, diagram.claimed, diagram.found, strict=True):
        table.add_row(
            figure(float(count), "count"),
            figure(float(claimed), unit),
            figure(float(found), unit),
            f"{found - claimed:+z.4f}",
        )
    return table


def _curve_table(quality: Quality, bytes_per_token: float | None) -> Table:
    """Show points of the curve at even exit rates, beside the static line at the same layers and the same FLOPs."""
    per_byte = bytes_per_token is not None
    static = ["Static PPL", *["Static bits/byte"] * per_byte, ""]
    heads = ["Exit rate", "Left early", "PPL", *["Bits/byte"] * per_byte]
    heads += ["Layers saved", *static, "FLOPs saved", *static]
    table = headed_table("One exit rate for all exits: quality against savings (evaluation split, all tokens)", heads)
    curve = quality.curve
    for at in np.linspace(0, len(curve.rates) - 1, SHOWN_POINTS).round().astype(int):
        cells = [
            f"{curve.rates[at]:.0%}",
            _figure(1 - curve.shares[at, -1], "share"),
            *ppl_and_bits(float(curve.loss[at]), bytes_per_token),
        ]
        for trade in (quality.layers, quality.flops):
            cells += [
                _figure(trade.savings[at], "share"),
                *ppl_and_bits(float(trade.line[at]), bytes_per_token),
                BEATS if trade.beats[at] else LOSES,
            ]
        table.add_row(*cells)
    return table


def _figure(value: float, unit: Unit) -> str:
    return figure(float(value), unit)


def _json_exit(judged: ExitQuality) -> dict[str, Any]:
    rankings = {
        "correct": judged.correct,
        "next_no_better": judged.next_no_better,
        "last_no_better": judged.last_no_better,
    }
    return {
        "block": judged.block,
        **{name: {"auroc": ranking.auroc, "share": ranking.share} for name, ranking in rankings.items()},
        "claims": judged.claims,
        "signal": None if judged.signal is None else _json_signal(judged.claims, judged.signal),
        "max_prob": _json_reliability(judged.confidence),
        "histogram": judged.histogram.tolist(),
    }


def _json_signal(claims: Claim, diagram: Reliability) -> dict[str, Any]:
    """Return the signal's claim against the truth: a gain by decile of the claim, in nats."""
    return {"unit": "nats" if claims in IN_NATS else "probability", **_json_reliability(diagram)}


def _json_reliability(diagram: Reliability) -> dict[str, Any]:
    return {
        "error": diagram.error,
        "bias": diagram.bias,
        "counts": diagram.counts.tolist(),
        "claimed": diagram.claimed.tolist(),
        "found": diagram.found.tolist(),
    }


def _json_trade_off(trade: TradeOff) -> dict[str, Any]:
    return {
        "area": trade.area,
        "mean_gain": trade.mean_gain,
        "share_of_possible": trade.share_of_possible,
        "savings": trade.savings.tolist(),
        "static": trade.line.tolist(),
        "possible": trade.possible.tolist(),
        "highest": trade.highest.tolist(),
        "beats": trade.beats.tolist(),
    }
