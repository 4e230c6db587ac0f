"""The lines on which the tables and keys of a TOML file begin. `tomllib` does not report them.

The text is cut into its statements, which are headers and `key = value`; `tomllib` reads each of
them alone. So a statement means here what it means in the file.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from autoscaler.config.messages import KeyPath

_PART = re.compile(
    r'''
      """(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}
    | \'\'\'(?:[^']|'{1,2}(?!'))*'{3,5}
    | "(?:[^"\\\n]|\\.)*"
    | '[^'\n]*'
    | \#[^\n]*
    | [^"'\#\[\]{}\n]+
    | .
    ''',
    re.DOTALL | re.VERBOSE,
)
"""The parts of a statement: strings, comments, single brackets, line ends, and other text."""


class TomlLines:
    """The lines of a valid TOML text, which is read when the first line is requested."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")

    def of(self, path: KeyPath) -> int | None:
        """The line of a key, or of the innermost table around it; None: there is neither."""
        for length in range(len(path), 0, -1):
            if (line := self._lines.get(path[:length])) is not None:
                return line
        return None

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        lines: dict[KeyPath, int] = {}
        table: KeyPath = ()
        tables_in: dict[KeyPath, int] = {}  # number of tables so far of each array of tables
        for statement in _statements(self._text):
            parsed = tomllib.loads(statement.text)
            if statement.text.startswith("["):
                table = _table_of(parsed, tables_in)
                lines.setdefault(table, statement.line)
            else:
                for path, line in _paths(parsed, statement.line, statement.element_lines):
                    lines.setdefault(table + path, line)
        return lines


class _Statement(NamedTuple):
    text: str
    line: int
    element_lines: list[int]  # of the inline tables that are elements of an array


def _statements(text: str) -> Iterator[_Statement]:
    line = begin_line = 1
    begin = depth = 0
    elements: list[int] = []
    for part in _PART.finditer(f"{text}\n"):
        found = part[0]
        if found == "\n" and depth == 0:
            statement = text[begin : part.start()].strip()
            if statement and not statement.startswith("#"):
                yield _Statement(statement, begin_line, elements)
            begin, begin_line, elements = part.end(), line + 1, []
        elif found in {"[", "{"}:
            if found == "{" and depth == 1:
                elements.append(line)
            depth += 1
        elif found in {"]", "}"}:
            depth -= 1
        line += found.count("\n")


def _table_of(header: dict[str, Any], tables_in: dict[KeyPath, int]) -> KeyPath:
    """The path of the table that begins with a header. Counts tables of arrays."""
    path: KeyPath = ()
    inner: Any = header
    while inner and isinstance(inner, dict):
        if path in tables_in:
            path = (*path, tables_in[path] - 1)
        ((name, inner),) = inner.items()
        path = (*path, name)
    if isinstance(inner, list):
        tables_in[path] = tables_in.get(path, 0) + 1
    return (*path, tables_in[path] - 1) if path in tables_in else path


def _paths(value: Any, line: int, element_lines: list[int]) -> Iterator[tuple[KeyPath, int]]:
    """All paths inside the value of a statement, with their lines."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (key,), line
            for path, at in _paths(inner, line, element_lines):
                yield (key, *path), at
    elif isinstance(value, list):
        # More brackets than elements: there are arrays within arrays.
        exact = len(value) == len(element_lines)
        for index, inner in enumerate(value):
            at = element_lines[index] if exact else line
            yield (index,), at
            for path, inner_at in _paths(inner, at, []):
                yield (index, *path), inner_at
