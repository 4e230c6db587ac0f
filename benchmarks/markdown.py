"""Tables and paragraphs that are readable as plain text and as Markdown."""

import textwrap
from collections.abc import Sequence

WIDTH = 100


def table(headings: Sequence[str], lines: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """An aligned table; the columns after the first `left` are figures, aligned right."""
    cells = [[each.replace("|", r"\|") for each in line] for line in [headings, *lines]]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width if n < left else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
    return "\n".join(
        "| {} |".format(
            " | ".join(
                cell.ljust(width) if n < left else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
        )
        for line in [cells[0], rule, *cells[1:]]
    )


def figure(value: float) -> str:
    """A figure with about three digits."""
    places = 3 if value < 0.1 else 2 if value < 10.0 else 1 if value < 100.0 else 0
    return f"{value:,.{places}f}"


def wrapped(text: str) -> str:
    """A paragraph, without breaking words."""
    return textwrap.fill(
        " ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False
    )
