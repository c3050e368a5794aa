"""Tables of figures below a title, for a terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


def headed_table(title: str, heads: Sequence[str]) -> Table:
    """Return an empty table; its columns are aligned right, except a first one without a head."""
    table = Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for position, head in enumerate(heads):
        left = not position and not head
        table.add_column(head, justify="left" if left else "right", overflow="fold")
    return table
