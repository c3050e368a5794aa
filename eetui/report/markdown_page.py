"""A report as Markdown, with its figures beside it."""

from collections.abc import Callable, Iterable, Iterator

from eetui.compare.sheets import Sheet
from eetui.compare.tables_text import markdown_sheet
from eetui.drawing.formats import markdown
from eetui.figures.plot import Plot
from eetui.report.blocks import Block, Bullets, Commands, Folded, Heading, Paragraph

FENCE = "```"


def as_markdown(blocks: Iterable[Block], place: Callable[[Plot], str]) -> str:
    """Write the page.

    Args:
        place: returns the path of a figure beside the page, without its suffix.
    """
    return "\n".join(line for block in blocks for line in _written(block, place)) + "\n"


def _written(block: Block, place: Callable[[Plot], str]) -> Iterator[str]:
    match block:
        case Heading():
            yield from (f"{'#' * block.level} {markdown(block.text)}", "")
        case Paragraph():
            yield from (markdown(block.text), "")
        case Bullets():
            yield from (f"- {markdown(line)}" for line in block.lines)
            yield ""
        case Commands():
            fence = FENCE
            while fence in block.text:
                fence += "`"
            yield from (f"{fence}sh", block.text, fence, "")
        case Folded():
            yield from ("<details>", f"<summary>{markdown(block.summary)}</summary>", "")
            for each in block.blocks:
                yield from _written(each, place)
            yield from ("</details>", "")
        case Sheet():
            written = markdown_sheet(block)
            if not block.title:
                next(written), next(written)  # the empty title
            yield from written
        case Plot():
            path = place(block)
            yield from (f"![{markdown(block.title)}]({path}.svg)", "")
            yield from (f"**{markdown(block.title)}.** {markdown(block.caption)} [numbers (CSV)]({path}.csv)", "")
