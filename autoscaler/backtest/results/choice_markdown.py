"""Choices as Markdown, for a ticket or a wiki."""

from collections.abc import Iterable, Iterator, Sequence

from autoscaler.backtest.results.choice import Choice
from autoscaler.backtest.results.choice_text import ChoiceText, choice_text

_SPECIAL = str.maketrans({each: f"\\{each}" for each in "\\`*_[]<>|#~"})


def render(choices: Sequence[Choice], *, command: str, made_at: str, notes: Sequence[str]) -> str:
    """The text of a file: a section for each choice. Names and sentences are escaped."""
    parts = [
        "# Which setting for these days",
        f"Created {_plain(made_at)} by {_plain(command)}",
        *map(_plain, notes),
    ]
    if not choices:
        parts.append(
            "There is nothing to compare: no policy and setting that can be used with this program "
            "ran in every case that the oracle can meet."
        )
    for choice in choices:
        parts += _section(choice_text(choice))
    return "\n\n".join(parts) + "\n"


def _section(text: ChoiceText) -> Iterator[str]:
    yield f"## {_plain(text.title)}"
    rule = ["---", *["---:"] * (len(text.headings) - 1)]
    lines = [_named(line.cells, cheapest=line.cheapest) for line in text.lines]
    yield "\n".join(_row(cells) for cells in (map(_plain, text.headings), rule, *lines))
    for paragraph in text.paragraphs:
        yield f"**{paragraph.subject}:** {_plain(paragraph.text)}"
    if text.configuration:
        yield "To use it:"
        yield f"```\n{text.configuration}\n```"


def _named(cells: Sequence[str], *, cheapest: bool) -> list[str]:
    name, *figures = map(_plain, cells)
    return [f"**{name}**" if cheapest else name, *figures]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """One line in which no character has a meaning."""
    return " ".join(text.translate(_SPECIAL).split())
