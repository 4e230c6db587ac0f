"""A TOML file -> a table and its lines, or an error that names the file and the position."""

import re
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


MAX_NESTING = 32
"""Tables and lists inside one another. No document needs more than six, and reading much deeper
ones exceeds the stack of the interpreter."""


class TomlFile(NamedTuple):
    tables: dict[str, Any]
    lines: TomlLines


def read_toml(
    path: Path,
    error: Callable[[list[str]], Exception],
    *,
    hint: str,
    public_keys: frozenset[str] | None = None,
) -> TomlFile:
    """The content of a file. A byte order mark at its beginning is ignored.

    Args:
        error: makes the exception from a list of problems.
        hint: what to do if there is no such file.
        public_keys: those whose lines a message may show; None: there are no secrets.
    """
    too_deep = f"{path}: tables or lists are nested more than {MAX_NESTING} deep; flatten them"
    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8-sig")
        tables = tomllib.loads(text)
    except RecursionError:
        raise error([too_deep]) from None
    except FileTooLarge:
        raise error([f"{path}: is larger than 1 MiB, so it cannot be a configuration"]) from None
    except FileNotFoundError:
        raise error([f"{path}: no such file; {hint}"]) from None
    except OSError as failure:
        raise error([f"{path}: cannot be read: {failure.strerror}"]) from None
    except UnicodeDecodeError as failure:
        raise error([f"{path}: is not UTF-8 at byte {failure.start}"]) from None
    except tomllib.TOMLDecodeError as failure:
        raise error([_syntax_error(path, text, str(failure), public_keys)]) from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise error([f"{path}{_line_of_digits(text)}: a number has too many digits"]) from None
    if nesting_exceeds(tables, MAX_NESTING):
        raise error([too_deep])
    return TomlFile(tables, TomlLines(text))


def nesting_exceeds(document: object, depth: int) -> bool:
    """Whether tables and lists are inside one another more than so many times."""
    level = [document]
    for _ in range(depth + 1):
        inner = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [item for each in inner if isinstance(each, list) for item in each]
        if not level:
            return False
    return True


def _line_of_digits(text: str) -> str:
    found = re.search(r"[0-9_]{1000,}", text)
    return f":{text.count(chr(10), 0, found.start()) + 1}" if found else ""


def _syntax_error(path: Path, text: str, message: str, public_keys: frozenset[str] | None) -> str:
    found = syntax_problem(text, message, public_keys)
    place = "".join(f":{number}" for number in (found.line, found.column) if number is not None)
    return f"{path}{place}: {found.sentence}"
