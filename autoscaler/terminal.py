"""Text on a terminal or in a pipe. All text from outside passes through `plain`."""

from rich.console import Console
from rich.text import Text

from autoscaler.text import printable


def plain(text: str, style: str = "") -> Text:
    """A text on one line that is neither markup nor acts on the terminal."""
    return Text(printable(text), style)


def print_line(console: Console, text: str, style: str = "", *, label: Text | None = None) -> None:
    """Print one line, wrapped on a terminal only; `label` is in front of the text."""
    line = plain(text, style)
    if label is not None:
        line = Text.assemble(label, line)
    console.print(line, highlight=False, soft_wrap=not console.is_terminal)
