"""Figure: evaluated text, each token on the shade of the block that it leaves at, as Inspect shows it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from core.errors import UsageError
from core.store.reader import Reader
from eetui.drawing.formats import file_stem
from eetui.drawing.harmless import one_line
from eetui.figures.plot import Plot
from eetui.figures.style import INK, QUIET
from eetui.inspection.study import Study, load
from eetui.inspection.token_layout import Layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADS = ("token", "line", "text", "target", "left_at", "right", "loss", "loss_all_blocks", "signal")
SIZE = 6.2
"""Points of the letters."""
CELL = 0.6021 * SIZE
"""Width of a letter of DejaVu Sans Mono in points."""
LINE = 1.62 * SIZE
"""Distance of lines in points."""
LEGEND = 18.0
"""Height of the legend in points."""
POINTS = 72 / 2.54
"""Points of a cm."""
LATEST, EARLIEST = (0.988, 0.988, 0.988), (0.40, 0.66, 0.88)
"""Shades (red, green, blue) of the last block and of the first exit: the lighter, the deeper."""
MISSING_LINES = 24
Shade = tuple[float, ...]
BLACK = "#000000"
"""Colour of letters, on shades that are light on every page."""


def token_map_plot(reader: Reader, run: int, *, first: int = 0, lines: int = MISSING_LINES) -> Plot:
    """Return the figure of a run's text.

    Args:
        first: number of the token to begin with.
        lines: number of lines.

    Raises:
        RunLookupError: there is no such run.
        UsageError: there is nothing to show, or no such token: why, and what to do.
    """
    row = reader.run(run)
    study = load(reader, row)
    if first >= study.table.tokens:
        name = one_line(row["name"])
        raise UsageError(f"{name} has no token {first:,}: its {study.table.tokens:,} are counted from 0 on")
    text = _Text(study, first, lines)
    return Plot(
        name=f"tokens-{file_stem(row['name'])}",
        title=f"{one_line(row['name'])}: the block that each token leaves at",
        caption=(
            f"Evaluated text from token {first:,} on. The darker its shade, the earlier a token leaves; bold: what is "
            "predicted there, the next token, is right. Worked out from tokens that went through every block."
        ),
        heads=HEADS,
        rows=_Rows(text),
        height=lambda width: (LINE * len(text.laid_out(width)) + LEGEND + 6) / POINTS,
        draw=text.draw,
    )


class _Text:
    """A part of a run's text, laid out for a width."""

    def __init__(self, study: Study, start: int, lines: int) -> None:
        self.study, self.start, self.lines = study, start, lines
        self.left_at, self.right = study.own.outcome.left_at, study.correct_now
        self._width, self._found = 0.0, list[tuple[int, range]]()

    def laid_out(self, width: float) -> list[tuple[int, range]]:
        """Return the indent and the tokens of each line, at a width in cm."""
        if width != self._width:
            tokens = self.study.table.inputs[self.start :]
            layout = Layout(tokens, self.study.looks, int((width * POINTS - 6) / CELL))
            lines = [(layout.indent(n), layout.line(n)) for n in range(self.lines)]
            self._width, self._found = width, [(indent, line) for indent, line in lines if line]
        return self._found

    def shown(self) -> Iterator[tuple[int, int]]:
        """Yield line and number of each token as last laid out; in a column where it was not."""
        for number, (_, line) in enumerate(self._found or self.laid_out(8.3)):
            for place in line:
                yield number, self.start + place

    def draw(self, figure: "Figure") -> None:
        width, height = (72 * size for size in (figure.get_figwidth(), figure.get_figheight()))
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        blocks = self.study.table.blocks
        _legend(axes, blocks, width)
        for number, (indent, line) in enumerate(self.laid_out(figure.get_figwidth() * 2.54)):
            self._line(axes, LEGEND + LINE * (number + 0.5), indent, line, blocks)

    def _line(self, axes: "Axes", y: float, indent: int, line: range, blocks: int) -> None:
        cell = indent
        for place in line:
            token = self.start + place
            look = self.study.looks.looks[int(self.study.table.inputs[token])].text
            word = look.lstrip(" ")
            at = 3 + CELL * (cell + len(look) - len(word))
            _word(axes, at, y, word, shade(int(self.left_at[token]), blocks), bold=bool(self.right[token]))
            cell += cell_len(look)


class _Rows:
    """The tokens that are shown, as rows; which they are follows from the width at which the figure was drawn."""

    def __init__(self, text: _Text) -> None:
        self._text = text

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        study, table = self._text.study, self._text.study.table
        pieces = study.looks.pieces
        for line, token in self._text.shown():
            block = int(self._text.left_at[token])
            losses = (float(table.cross_entropy[at, token]) for at in (block, -1))
            signal = float(table.signal[block, token]) if block < table.exits else None
            texts = (pieces[int(ids[token])] for ids in (table.inputs, table.targets))
            yield token, line, *texts, block, int(self._text.right[token]), *losses, signal


def shade(block: int, blocks: int) -> Shade:
    """Return the shade of a block: nearly white for the last, and the darker the earlier, in grey too."""
    return between(1 - block / max(1, blocks - 1))


def between(share: float) -> Shade:
    """Return the shade so far from the lightest, 0, to the darkest, 1; letters on it are black."""
    return tuple(light + (dark - light) * share for light, dark in zip(LATEST, EARLIEST, strict=True))


def _word(axes: "Axes", x: float, y: float, word: str, background: Shade, *, bold: bool) -> None:
    from matplotlib.patches import Rectangle

    width = CELL * cell_len(word)
    axes.add_patch(
        Rectangle((x, y - 0.45 * LINE), width, 0.9 * LINE, facecolor=background, edgecolor="#c4c4c4", linewidth=0.25)
    )
    style: dict[str, Any] = {"fontfamily": ["DejaVu Sans Mono", "monospace"], "fontsize": SIZE, "color": BLACK}
    axes.text(x, y, word, va="center_baseline", fontweight="bold" if bold else "normal", **style)


def _legend(axes: "Axes", blocks: int, width: float) -> None:
    from matplotlib.patches import Rectangle

    x, size = 3.0, 0.62 * SIZE
    entries = [f"leaves at block {block}" if not block else str(block) for block in range(blocks)]
    for block, name in enumerate(entries):
        box = Rectangle((x, LEGEND / 2 - size), 2 * size, 1.6 * size, facecolor=shade(block, blocks), edgecolor=QUIET)
        box.set_linewidth(0.4)
        axes.add_patch(box)
        axes.text(x + 2.5 * size, LEGEND / 2, name, va="center", fontsize=SIZE, color=INK)
        x += 3.4 * size + 0.58 * SIZE * len(name) + 4
    if x + 60 < width:
        axes.text(x, LEGEND / 2, "bold: right", va="center", fontsize=SIZE, fontweight="bold", color=INK)
