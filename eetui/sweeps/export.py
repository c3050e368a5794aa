"""Files of what the Sweep screen shows."""

from eetui.console.bench import Bench
from eetui.drawing.formats import csv_text
from eetui.sweeps.data import Found
from eetui.sweeps.drawn import Content


def export_view(bench: Bench, found: Found, content: Content) -> None:
    """Draw the figure of a view that has one, else write its table; where it is, is said."""
    match found.wanted.view:
        case "heat":
            bench.draw("heat", found.sweep.name, found.table)
        case "front":
            bench.draw("front", found.sweep.name, found.combinations)
        case view:
            bench.export(f"sweep-{found.sweep.name}-{view}.csv", lambda: csv_text([content.heads, *content.rows]))
