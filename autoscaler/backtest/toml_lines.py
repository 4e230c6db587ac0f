"""In which line of a TOML file a key is, which its parser does not tell."""

import re
from collections.abc import Mapping

Path = tuple[str, ...]

_PART = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_NAME = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*\[\[?\s*({_NAME})\s*\]")
_KEY = re.compile(rf"\s*({_NAME})\s*=")


def lines_of_keys(text: str) -> Mapping[Path, int]:
    """The line, from 1, of every table and key that begins one. The text is valid TOML.

    What is inside of values, such as the keys of an inline table, is not looked for.

    >>> lines_of_keys('[slo]\\nwait = "1s"')
    {('slo',): 1, ('slo', 'wait'): 2}
    """
    lines: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.split("\n"), 1):
        if found := _TABLE.match(line):
            table = _path(found[1])
            lines.setdefault(table, number)
        elif found := _KEY.match(line):
            lines.setdefault((*table, *_path(found[1])), number)
    return lines


def line_of(path: Path, lines: Mapping[Path, int]) -> int:
    """The line of a key, or of the closest table around it, or else the first."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


def _path(name: str) -> Path:
    return tuple(part.strip("\"'") for part in re.findall(_PART, name))
