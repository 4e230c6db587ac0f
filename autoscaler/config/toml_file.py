"""A TOML file -> a table, or an error that names the file and the position."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 20
"""The size limit of a file in bytes. A thousand rules take a fifth of it, so a larger file was
named by mistake."""


def read_toml(path: Path, error: Callable[[list[str]], Exception], *, hint: str) -> dict[str, Any]:
    """The content of a file.

    Args:
        error: makes the exception from a list of problems.
        hint: what to do if there is no such file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise error([f"{path}: is larger than 1 MiB, so it cannot be a configuration"])
        return tomllib.loads(content.decode())
    except FileNotFoundError:
        raise error([f"{path}: no such file; {hint}"]) from None
    except OSError as failure:
        raise error([f"{path}: cannot be read: {failure.strerror}"]) from None
    except UnicodeDecodeError as failure:
        raise error([f"{path}: is not UTF-8 at byte {failure.start}"]) from None
    except tomllib.TOMLDecodeError as failure:
        raise error([_syntax_error(path, str(failure))]) from None


def _syntax_error(path: Path, message: str) -> str:
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    return f"{path}:{found[2]}:{found[3]}: {found[1]}" if found else f"{path}: {message}"
