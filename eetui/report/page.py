"""A report as one HTML page that needs nothing beside it: inline style and figures, no script, light and dark."""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from eetui.compare.sheets import BEST, Sheet
from eetui.drawing.harmless import lines
from eetui.figures.plot import Plot
from eetui.figures.render import render
from eetui.figures.style import INK
from eetui.report.blocks import Block, Bullets, Commands, Folded, Heading, Paragraph

WIDTH = 15.0
"""Width of figures in cm."""
STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1b1b; --quiet: #5f646b; --line: #d5d8dc; --soft: #f4f5f7;
  --link: #0062a3; --blue: #0072b2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171c; --ink: #e4e6eb; --quiet: #a2a8b2; --line: #39404b; --soft: #1d222a;
    --link: #7cc0f0; --blue: #3d9be0;
  }
}
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
a { color: var(--link); }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; overflow-wrap: anywhere; }
p, li, figcaption { max-width: 52rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.4rem 0 1rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
th, td { padding: 0.18rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { white-space: pre-line; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.pairs td { text-align: left; overflow-wrap: anywhere; }
.pairs td:first-child { white-space: nowrap; overflow-wrap: normal; }
.best { font-weight: 700; }
.remark, figcaption { color: var(--quiet); font-size: 0.87rem; }
figure { margin: 1.4rem 0; }
figure svg { width: min(100%, 50rem); height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
pre { background: var(--soft); padding: 0.7rem 0.9rem; overflow-x: auto; }
summary { cursor: pointer; color: var(--quiet); }
@media print { details { display: block; } body { max-width: none; } }
"""
OF_PAGE = {INK: "currentColor", "#ffffff": "var(--paper)", "#0072b2": "var(--blue)"}
"""Colours of figures that differ on a dark page: ink, paper, and the darkest line."""
WHOLE_PAGE = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
"""What would be of the whole page: its style says what `STYLE` says of figures."""
ID = re.compile(r'(?<=\bid=")|(?<=url\(#)|(?<=xlink:href="#)')


def as_html(blocks: Iterable[Block]) -> str:
    """Write the page."""
    body, title, number = list[str](), "", 0
    for block in blocks:
        if isinstance(block, Heading) and not title:
            title = block.text
        number += 1
        body += _written(block, number)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _written(block: Block, number: int) -> Iterator[str]:
    match block:
        case Heading():
            yield f"<h{block.level}>{_text(block.text)}</h{block.level}>"
        case Paragraph():
            yield f"<p>{_text(block.text)}</p>"
        case Bullets():
            yield "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in block.lines) + "</ul>"
        case Commands():
            yield f"<pre>{escape(block.text)}</pre>"
        case Folded():
            inner = [line for each in block.blocks for line in _written(each, number)]
            yield "\n".join([f"<details><summary>{_text(block.summary)}</summary>", *inner, "</details>"])
        case Sheet():
            yield from _table(block)
        case Plot():
            yield from _figure(block, number)


def _table(sheet: Sheet) -> Iterator[str]:
    plain = len(sheet.heads) == 2 and not sheet.best and not sheet.title
    yield f'<div class="scroll"><table{" class=pairs" if plain else ""}>'
    if sheet.title:
        yield f"<caption>{_text(sheet.title)}</caption>"
    if any(sheet.heads):
        yield f"<thead>{_row('th', sheet.heads)}</thead>"
    yield "<tbody>"
    for index, row in enumerate(sheet.rows):
        best = {place for line, place in sheet.best if line == index}
        yield _row("td", row, best)
    yield "</tbody></table></div>"
    if sheet.remark:
        yield f'<p class="remark">{_text(sheet.remark)}</p>'


def _row(tag: str, cells: Sequence[str], best: Iterable[int] = ()) -> str:
    written = (
        f'<{tag} class="best">{_text(cell)} {BEST}</{tag}>' if place in best else f"<{tag}>{_text(cell)}</{tag}>"
        for place, cell in enumerate(cells)
    )  # fmt: skip
    return f"<tr>{''.join(written)}</tr>"


def _figure(plot: Plot, number: int) -> Iterator[str]:
    yield f"<figure>{inline_svg(plot, f'f{number}-')}"
    numbers = base64.b64encode(plot.csv().encode()).decode()
    link = f'<a download="{_text(plot.name)}.csv" href="data:text/csv;charset=utf-8;base64,{numbers}">numbers (CSV)</a>'
    yield f"<figcaption><b>{_text(plot.title)}.</b> {_text(plot.caption)} {link}</figcaption></figure>"


def inline_svg(plot: Plot, prefix: str) -> str:
    """Draw a figure as SVG within a page: its ids are its own, and its colours follow the page's."""
    svg = render(plot, WIDTH, "svg").decode()
    svg = svg[svg.index("<svg") :]
    svg = WHOLE_PAGE.sub("", svg)
    svg = ID.sub(prefix, svg)
    for colour, of_page in OF_PAGE.items():
        svg = svg.replace(colour, of_page)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_text(plot.title)}"', 1)


def _text(text: str) -> str:
    """Escape a text, harmful characters replaced."""
    return escape(lines(text))
