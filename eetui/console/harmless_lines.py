"""The last filter of the console: whatever a widget draws, nothing in it is obeyed by the terminal."""

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from eetui.drawing.harmless import same_width


class HarmlessLines(LineFilter):
    """Replaces, in lines as they are drawn, every character that a terminal would obey or not show."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments, each of the width it had."""
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return [Segment(same_width(text), style, control) for text, style, control in segments]
