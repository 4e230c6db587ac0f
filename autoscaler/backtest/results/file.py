"""Results as a file: strict JSON, one row a line, there as a whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from autoscaler.backtest.results.rows import FORMER_POLICY_NAMES, ResultRow
from autoscaler.errors import InputError, UserError

FORMAT = 2
"""The format of result files. It is raised when an older program could misread a newer file."""

_FIELDS_OF_FORMAT_1: Mapping[str, str] = {
    "misses": "violations",
    "miss_fraction": "violation_fraction",
    "longest_backlog_s": "max_backlog_s",
    "seconds": "simulated_s",
    "took_s": "elapsed_s",
}
_FACTS_OF_FORMAT_1: Mapping[str, str] = {
    "minimum": "min_allocations",
    "maximum": "max_allocations",
    "slo_share": "slo_target",
    "poll_s": "poll_interval_s",
}

Fact = str | int | float | bool | None


class Results(Struct, frozen=True, kw_only=True):
    """What a command found out, and all that is needed to ask the same again."""

    version: int = FORMAT
    program: str  # its name and version
    command: str
    made_at: str  # ISO 8601
    scenarios: Mapping[str, Mapping[str, Fact]]  # by name
    missing: int = 0  # runs that failed, or were not done because somebody was in a hurry
    rows: tuple[ResultRow, ...]


class ResultsError(InputError):
    """A file does not hold results. The message names it."""


def ensure_writable(path: Path) -> None:
    """Find out whether a file could be written, before anything is done for which it is needed.

    Raises:
        UserError: it could not.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            raise UserError(f"cannot write {path}: it is not a file; name one")
        partial = _partial(target)
        partial.touch()
        partial.unlink()
    except OSError as refusal:
        _refuse(path, refusal)


def write(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it: under another name, then renamed.

    Raises:
        UserError: it cannot be written. What was there before still is.
    """
    target = path.resolve()
    partial = _partial(target)
    try:
        try:
            # File names that are not UTF-8 are in the text as characters that have no encoding.
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as refusal:
        _refuse(path, refusal)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def _refuse(path: Path, refusal: OSError) -> NoReturn:
    why = (refusal.strerror or str(refusal)).lower()
    raise UserError(
        f"cannot write {path}: {why}; name a file in a folder that exists and is yours to write to"
    ) from refusal


def to_json(results: Results) -> str:
    """The text of a file of results.

    Raises:
        ValueError: a figure is not a number, or infinite; JSON has neither.
    """
    header = msgspec.to_builtins(results)
    lines = ",\n".join(_strict(row) for row in header.pop("rows"))
    return f'{_strict(header)[:-1]}, "rows": [\n{lines}\n]}}\n'


def _strict(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def read(path: Path) -> Results:
    """Read results back.

    Raises:
        ResultsError: there is no such file, or it holds something else.
    """
    try:
        found = json.loads(path.read_bytes(), parse_constant=_no_number)
    except OSError as refusal:
        why = (refusal.strerror or str(refusal)).lower()
        raise ResultsError(f"cannot read results from {path}: {why}") from refusal
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON: {error}") from error
    version = found.get("version", FORMAT) if isinstance(found, dict) else FORMAT
    if version not in (1, FORMAT):
        raise ResultsError(
            f"{path} holds results of format {version!r}, and this program reads formats 1 to "
            f"{FORMAT}; read it with the program that wrote it"
        )
    try:
        return msgspec.convert(_from_format_1(found) if version == 1 else found, Results)
    except msgspec.ValidationError as error:
        raise ResultsError(
            f"{path} does not hold results of the laboratory: {error}; name a file that it wrote"
        ) from error


def _from_format_1(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same results with the names of the current format."""
    rows, scenarios = found.get("rows"), found.get("scenarios")
    current = {**found, "version": FORMAT}
    if isinstance(rows, list):
        current["rows"] = [_renamed_row(row) for row in rows]
    if isinstance(scenarios, dict):
        current["scenarios"] = {
            name: _renamed(facts, _FACTS_OF_FORMAT_1) for name, facts in scenarios.items()
        }
    return current


def _renamed_row(row: Any) -> Any:
    renamed = _renamed(row, _FIELDS_OF_FORMAT_1)
    if isinstance(renamed, dict) and isinstance(policy := renamed.get("policy"), str):
        renamed["policy"] = FORMER_POLICY_NAMES.get(policy, policy)
    return renamed


def _renamed(table: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(table, dict):
        return table  # refused when it is converted
    return {names.get(key, key): value for key, value in table.items()}


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
