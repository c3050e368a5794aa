"""The command that probes a pretrained model, and the text of its result."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from core.errors import UsageError
from core.formulas import perplexity
from eetui.cli.choices import CHOICES, listed
from eetui.cli.options import (
    AsJson,
    Assignments,
    Corpus,
    Device,
    EvalCorpus,
    Force,
    config_layers,
    output,
    print_data,
    watched,
)
from eetui.drawing.formats import json_text
from eetui.drawing.harmless import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from core.analysis.probe import Probe
    from core.analysis.probed_exits import Exits
    from core.analysis.probed_layers import Layers


def probe(
    model: Annotated[str, typer.Argument(help="hf: and a folder, a GGUF file or a hub id[@REVISION].")],
    corpus: Corpus = None,
    eval_corpus: EvalCorpus = None,
    assign: Assignments = None,
    device: Device = None,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"Draw loss and agreement by layer, as {listed(CHOICES['plot --format'])}, with their numbers.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Say, before any training, what each layer of a pretrained model knows, and whether exits are worth trying."""
    from core.pretrained.place import is_pretrained

    if not is_pretrained(model):
        raise UsageError(f"a probe takes hf: and a folder, a GGUF file or a hub id such as hf:gpt2, got {model!r}")
    _refuse_decided(assign or ())
    draws = _figure(plot, force=force)
    from core.analysis.probe import SETTINGS
    from core.analysis.probe import probe as probe_model
    from core.config.run_config import PRETRAINED_PRESET, Layer, build

    few = Layer("eetui probe", SETTINGS)
    preset, *own = config_layers(
        PRETRAINED_PRESET, (), assign, corpus=corpus, eval_corpus=eval_corpus, seed=None, device=device, model=model
    )
    found = watched(probe_model(build([preset, few, *own])))
    if as_json:
        print_data(probe_json(found))
    else:
        output().print(probe_text(found))
    draws(found)


def _refuse_decided(assignments: "Sequence[str]") -> None:
    """Refuse values that a probe would pass over.

    Raises:
        UsageError: there is one.
        ConfigError: one is unknown, or no assignment.
    """
    from core.analysis.probe import DECIDED
    from core.config.run_config import set_layer
    from core.sweeps.spec import full_name

    for layer in map(set_layer, assignments):
        for name in (full_name(key, layer.origin) for key in layer.values):
            if name in DECIDED or name.startswith("exit."):
                raise UsageError(
                    f"{name} means nothing to a probe, which makes cuts and exits of its own: leave it out"
                )


def _figure(path: Path | None, *, force: bool) -> "Callable[[Probe], None]":
    """Return what draws a probe to a file, once all that can be wrong with it is checked.

    Raises:
        UsageError: matplotlib is not installed, the suffix is of no format, or a file is there.
    """
    if path is None:
        return lambda found: None
    from eetui.figures.files import beside, require_free, suffix_format, write_plots
    from eetui.figures.plot import COLUMN
    from eetui.figures.render import FORMATS, require_matplotlib

    require_matplotlib()
    written, stem = suffix_format(path), path.with_suffix("")
    if written is None:
        raise UsageError(f"--plot takes a file that ends in {', '.join(FORMATS)}, got {path}")
    require_free([beside(stem, suffix) for suffix in (written, "csv")], force=force)

    def draw(found: "Probe") -> None:
        from eetui.figures.probe import probe_plot

        for file in write_plots([(probe_plot(found), stem)], (written,), COLUMN, force=force):
            print(one_line(f"wrote {file}", 4096), file=sys.stderr)

    return draw


def probe_json(found: "Probe") -> str:
    """Write a probe as JSON."""
    return json_text(asdict(found) | {"verdict": found.verdict})


def probe_text(found: "Probe") -> Group:
    """Write a probe as tables and a verdict."""
    layers, exits = found.layers, found.exits
    head = (
        f"{found.model}: fitted on {found.fitted:,} tokens, every layer judged on {layers.tokens:,} others, exits on "
        f"{exits.tokens:,}"
    )
    return Group(
        Text(head, style="bold"),
        Text(),
        _layers(layers),
        Text(),
        Text("An oracle that knows each layer's loss (with the map) and pays for depth"),
        _oracle(layers),
        Text(),
        Text(f"Predictions stop changing with {layers.stable:.1%} of the layers left, on average."),
        Text(),
        Text("Exits with trained readouts, left by gain at one price, against the same depths fixed"),
        _depths(exits),
        Text(),
        _exits(exits),
        Text(),
        Text(f"Early exit is {found.verdict}."),
    )


def _layers(layers: "Layers") -> Table:
    table = _table("Layer", "Layers saved", "PPL", "PPL, affine", "As the last", "As the last, affine", "Entropy, nats")
    for one in layers.rows:
        table.add_row(
            str(one.layer), f"{one.saved:.1%}", f"{one.ppl:,.2f}", f"{one.affine_ppl:,.2f}", f"{one.agrees:.1%}",
            f"{one.affine_agrees:.1%}", f"{one.entropy:.2f}",
        )  # fmt: skip
    return table


def _oracle(layers: "Layers") -> Table:
    table = _table("Price of the depth, nats", "Layers saved", "PPL")
    table.add_row("none (all layers)", "0.0%", f"{layers.rows[-1].ppl:,.2f}")
    for priced in layers.oracle:
        table.add_row(f"{priced.price:g}", f"{priced.saved:.1%}", f"{perplexity(priced.loss):,.2f}")
    return table


def _depths(exits: "Exits") -> Table:
    table = _table("Layers", *map(str, exits.layers))
    table.add_row("PPL", *(f"{perplexity(loss):,.2f}" for loss in exits.losses))
    return table


def _exits(exits: "Exits") -> Table:
    table = _table("Layers saved", "PPL", "Nats above fixed depths", "95% interval")
    for point in exits.points:
        within = point.interval
        span = "" if within is None else f"[{within.low:+.3f}, {within.high:+.3f}]"
        table.add_row(f"{point.saved:.1%}", f"{perplexity(point.loss):,.2f}", f"{point.difference:+.3f}", span)
    return table


def _table(*heads: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(head, justify="right")
    return table
