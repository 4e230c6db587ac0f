"""Tables on a terminal."""

from rich import box
from rich.table import Table

from autoscaler.terminal import plain

NARROW_BELOW = 100
"""Columns of the terminal below which headings have two lines. The widest table has 83 to 100 with
headings of one line, depending on the names of traces and on the number of seeds."""


def plain_table(title: str, caption: str = "") -> Table:
    """A table without columns, on the left, with a title above and a caption below."""
    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=plain(title, "bold"),
        title_justify="left",
        caption=plain(caption),
        caption_justify="left",
    )
