"""Draws figures as SVG, PDF or PNG: the same bytes each time, and without a word of when or where.

Matplotlib comes with the extra `eetui[plot]` and is imported here alone.
"""

import io
import logging
import warnings
from typing import TYPE_CHECKING, Any, Literal, get_args

from core.errors import UsageError
from eetui.figures.plot import Plot
from eetui.figures.style import RC

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
INCH = 2.54
HANGS_OVER = 3.5 / 72
"""Inches by which text may hang over the edge of a figure: its bounding box has some room of its own."""
NO_ROOM = r"constrained_layout not applied"
"""What Matplotlib warns of where labels leave no room for what they label."""
NOTHING: dict[Format, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""Metadata that is left out."""


def require_matplotlib() -> Any:
    """Return the module matplotlib.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import matplotlib
        import matplotlib.style
    except ImportError as error:
        raise UsageError(f"figures need matplotlib ({error}): pip install 'eetui[plot]'") from None
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its cache of fonts is made the first time
    return matplotlib


def render(plot: Plot, width: float, written: Format) -> bytes:
    """Draw a figure at a width in cm.

    Raises:
        UsageError: matplotlib is not installed, or the figure does not fit.
    """
    matplotlib = require_matplotlib()
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")  # a box stands for it
        warnings.filterwarnings("ignore", message=NO_ROOM)  # its labels hang over then, or it has no height
        matplotlib.style.use(["default", RC])
        figure = Figure(figsize=(width / INCH, plot.height(width) / INCH))
        plot.draw(figure)
        title = {"Title": plot.title} if written != "png" else {}
        figure.savefig(out, format=written, metadata={**NOTHING[written], **title})
        if not _fits(figure):
            raise UsageError(f"{plot.name} does not fit into {width:g} cm: take a larger --width, or fewer runs")
    return out.getvalue()


def _fits(figure: "Figure") -> bool:
    """Tell whether a figure that was drawn has all its labels within it."""
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return bool(min(box.x0, box.y0, width - box.x1, height - box.y1) > -HANGS_OVER)
