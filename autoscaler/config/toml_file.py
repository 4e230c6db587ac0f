"""A TOML file -> a table and its lines, or an error that names the file and the position."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from autoscaler.config.toml_lines import TomlLines
from autoscaler.config.toml_syntax import syntax_problem
from autoscaler.files import FileTooLarge, read_regular

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
        text = read_regular(path, MAX_BYTES).decode("utf-8-sig")
        return TomlFile(tomllib.loads(text), TomlLines(text))
    except FileTooLarge:
        raise error([f"{path}: is larger than 1 MiB, so it cannot be a configuration"]) from None
    except FileNotFoundError:
        raise error([f"{path}: no such file; {hint}"]) from None
    except OSError as failure:
        raise error([f"{path}: cannot be read: {failure.strerror}"]) from None
    except UnicodeDecodeError as failure:
        raise error([f"{path}: is not UTF-8 at byte {failure.start}"]) from None
    except tomllib.TOMLDecodeError as failure:
        raise error([_syntax_error(path, text, str(failure))]) from None


def _syntax_error(path: Path, text: str, message: str) -> str:
    found = syntax_problem(text, message)
    place = "".join(f":{number}" for number in (found.line, found.column) if number is not None)
    return f"{path}{place}: {found.sentence}"
