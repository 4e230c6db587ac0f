"""A TOML file -> a table and its lines, or an error that names the file and the position."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from autoscaler.config.toml_lines import TomlLines

MAX_BYTES = 1 << 20
"""The size limit of a file in bytes. A thousand rules take a fifth of it, so a larger file was
named by mistake."""


class TomlFile(NamedTuple):
    tables: dict[str, Any]
    lines: TomlLines


def read_toml(path: Path, error: Callable[[list[str]], Exception], *, hint: str) -> TomlFile:
    """The content of a file. A byte order mark at its beginning is ignored.

    Args:
        error: makes the exception from a list of problems.
        hint: what to do if there is no such file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise error([f"{path}: is larger than 1 MiB, so it cannot be a configuration"])
        text = content.decode("utf-8-sig")
        return TomlFile(tomllib.loads(text), TomlLines(text))
    except FileNotFoundError:
        raise error([f"{path}: no such file; {hint}"]) from None
    except OSError as failure:
        raise error([f"{path}: cannot be read: {failure.strerror}"]) from None
    except UnicodeDecodeError as failure:
        raise error([f"{path}: is not UTF-8 at byte {failure.start}"]) from None
    except tomllib.TOMLDecodeError as failure:
        raise error([_syntax_error(path, text, str(failure))]) from None


def _syntax_error(path: Path, text: str, message: str) -> str:
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if not found:
        return f"{path}: {message}"
    what, line, column = found[1], int(found[2]), int(found[3])
    written = text.split("\n")[line - 1]
    return f"{path}:{line}:{column}: {_explained(what, written)}"


def _explained(what: str, line: str) -> str:
    """The message of the library, in other words where they help. Values are not shown: they may
    be secrets."""
    assignment = re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", line)
    if what == "Cannot overwrite a value":
        key = assignment[1] if assignment else "a key"
        return f"{key} is set twice in the same table; keep one"
    if (table := re.fullmatch(r"Cannot declare \((.*?),?\) twice", what)) is not None:
        name = ".".join(re.findall(r"'([^']*)'", table[1]))
        return f"the table [{name}] is there twice; merge the two"
    if assignment and (what == "Invalid value" or what.startswith("Expected newline")):
        return (
            f"the value of {assignment[1]} is not TOML: texts and durations need quotes, "
            "and booleans are true or false"
        )
    return what
