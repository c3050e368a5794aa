"""Figure: what each layer of a pretrained model knows (`eetui probe`), and exits against fixed depths."""

from collections.abc import Iterator
from math import log
from typing import TYPE_CHECKING

from core.analysis.probe import Probe
from eetui.drawing.axes import LINEAR, SHARE, WHOLE
from eetui.figures.plot import Plot
from eetui.figures.style import legend_above, look, name_of, value_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AS_IT_IS = "the model's norm and head"
WAYS = {AS_IT_IS: ("ppl", "agrees"), "with an affine map": ("affine_ppl", "affine_agrees")}
"""Ways to read a layer, with its perplexity and its agreement."""
FIXED, EXITS = "fixed depth, trained readout", "exits by gain"
ROOM = 1.1
"""Height of the panel of losses, in losses of what is fitted; beyond it the norm and head say nothing."""
Row = tuple[str, float, float, float | None]
"""Way, layers run on average, loss in nats, and share of predictions that are the last layer's where it is known."""


def probe_plot(found: Probe) -> Plot:
    """Return the figure."""
    rows = list(_rows(found))
    highest = ROOM * max(loss for way, _, loss, _ in rows if way != AS_IT_IS)
    beyond = any(loss > highest for _, _, loss, _ in rows)

    def draw(figure: "Figure") -> None:
        losses, agreement = figure.subplots(1, 2)
        for index, way in enumerate((*WAYS, FIXED, EXITS)):
            own = [row for row in rows if row[0] == way]
            style, layers = look(index), [row[1] for row in own]
            line = "none" if way == EXITS else style.dashes
            shape = {"color": style.colour, "linestyle": line, "marker": style.marker, "label": way}
            losses.plot(layers, [row[2] for row in own], **shape)
            if way in WAYS:
                agreement.plot(layers, [row[3] for row in own], **shape)
        if beyond:
            losses.set_ylim(top=highest)
        for axes, title, axis in ((losses, "loss, nats", LINEAR), (agreement, "predicts as the last layer", SHARE)):
            axes.set_title(title, loc="left")
            axes.set_xlabel("layers")
            value_axis(axes, "x", WHOLE)
            value_axis(axes, "y", axis)
        legend_above(figure, *losses.get_legend_handles_labels())

    return Plot(
        name="probe",
        title=f"What each layer of {name_of(found.model)} knows",
        caption=(
            "Loss after each layer, and share of the predictions that are the last layer's, read by the model's own "
            "norm and head, and with an affine map before them that was fitted on other tokens by least squares. Also "
            "the loss of a few fixed depths whose readouts were briefly trained, and of exits by gain at one price, "
            "at the layers that they run on average."
            + (" Losses of the norm and head far above all others are beyond the panel." if beyond else "")
        ),
        heads=["way", "layers", "loss", "agrees"],
        rows=rows,
        height=lambda width: 1.2 + max(3.4, min(5.5, 0.36 * width)),
        draw=draw,
    )


def _rows(found: Probe) -> Iterator[Row]:
    for way, (ppl, agrees) in WAYS.items():
        for one in found.layers.rows:
            yield way, one.layer, log(getattr(one, ppl)), getattr(one, agrees)
    exits, layers = found.exits, found.layers.rows[-1].layer
    for end, loss in zip(exits.layers, exits.losses, strict=True):
        yield FIXED, end, loss, None
    for point in exits.points:
        yield EXITS, layers * (1 - point.saved), point.loss, None
