"""Figure: what each layer of a pretrained model knows (`eetui probe`): its loss, and its agreement with the last."""

from dataclasses import astuple, fields
from math import log
from typing import TYPE_CHECKING

from core.analysis.probe import Probe, ProbedLayer
from eetui.drawing.axes import LINEAR, SHARE, WHOLE
from eetui.figures.plot import Plot
from eetui.figures.style import legend_above, look, name_of, value_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = {"the model's norm and head": ("ppl", "agrees"), "with an affine map": ("affine_ppl", "affine_agrees")}
"""Ways to read a layer, with its perplexity and its agreement."""


def probe_plot(found: Probe) -> Plot:
    """Return the figure."""

    def draw(figure: "Figure") -> None:
        losses, agreement = figure.subplots(1, 2)
        layers = [one.layer for one in found.layers]
        for index, (way, (ppl, agrees)) in enumerate(WAYS.items()):
            style = look(index)
            shape = {"color": style.colour, "linestyle": style.dashes, "marker": style.marker, "label": way}
            losses.plot(layers, [log(getattr(one, ppl)) for one in found.layers], **shape)
            agreement.plot(layers, [getattr(one, agrees) for one in found.layers], **shape)
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
            "norm and head, and with an affine map before them that was fitted on other tokens by least squares."
        ),
        heads=[field.name for field in fields(ProbedLayer)],
        rows=[astuple(one) for one in found.layers],
        height=lambda width: 1.2 + max(3.4, min(5.5, 0.36 * width)),
        draw=draw,
    )
