"""What a report is made of, before it is HTML or Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetui.compare.sheets import Sheet
from eetui.drawing.harmless import one_line
from eetui.figures.plot import Plot

LONGEST_COMMAND = 10_000
"""Characters of a command."""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the page's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Commands:
    """Lines to be typed."""

    lines: Sequence[str]

    @property
    def text(self) -> str:
        """The lines as one text, harmless: a stored command that breaks its line is one line."""
        return "\n".join(one_line(line, LONGEST_COMMAND) for line in self.lines)


@dataclass(frozen=True)
class Folded:
    """What is folded away below a summary."""

    summary: str
    blocks: "Sequence[Block]"


Block = Heading | Paragraph | Bullets | Commands | Folded | Sheet | Plot
