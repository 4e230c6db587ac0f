"""Result files: strict JSON, one row per line, written as a whole or not at all."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from autoscaler.backtest.results.choice import Choice
from autoscaler.backtest.results.rows import FORMER_POLICY_NAMES, ResultRow
from autoscaler.errors import InputError, UsageError, UserError
from autoscaler.files import read_regular, real_path

MAX_BYTES = 256 * 2**20
"""The size limit of a file that is read. A row takes about 1 kB, and a run has thousands."""

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
    """The results of one command, with all that is needed to repeat it."""

    version: int = FORMAT
    program: str  # its name and version
    command: str
    made_at: str  # ISO 8601
    scenarios: Mapping[str, Mapping[str, Fact]]  # by name
    missing: int = 0  # runs that failed or were interrupted
    notes: tuple[str, ...] = ()  # which days were simulated, and whether the load was scaled
    choices: tuple[Choice, ...] = ()  # the settings that an operator can use, compared
    elapsed_s: tuple[float, ...] = ()  # of each row, in a file: its rows are the same each time
    rows: tuple[ResultRow, ...]


class ResultsError(InputError):
    """A file cannot be read as results. The message names it."""


def ensure_apart(outputs: Mapping[str, Path], inputs: Iterable[Path] = ()) -> None:
    """Check that no result replaces another one, or what it is computed from.

    Args:
        outputs: the files to write, by the options that name them.
        inputs: the files that are read.

    Raises:
        UsageError: a file is written twice, or written and read.
        UserError: a path leads nowhere.
    """
    read = {_place(path) for path in inputs}
    written: dict[Path, str] = {}
    for option, path in outputs.items():
        place = _place(path)
        if place in read:
            raise UsageError(
                f"{option}: {path} is read too, and would be replaced by results; name another file"
            )
        other = written.setdefault(place, option)
        if other != option:
            raise UsageError(f"{option}: {path} is the file of {other} too; name another file")


def _place(path: Path) -> Path:
    try:
        return real_path(path)
    except OSError as error:
        _raise_unwritable(path, error)


def ensure_writable(path: Path) -> None:
    """Check that a file can be written, before a long computation.

    Raises:
        UserError: it cannot be written.
    """
    try:
        target = real_path(path)
        if target.exists() and not target.is_file():
            raise UserError(f"cannot write {path}: it is not a file; name a file")
        partial = _partial(target)
        partial.touch()
        partial.unlink()
    except OSError as error:
        _raise_unwritable(path, error)


def write(path: Path, text: str) -> None:
    """Write a file atomically: under another name, which is then renamed.

    Raises:
        UserError: it cannot be written. An existing file stays unchanged.
    """
    try:
        target = real_path(path)
        partial = _partial(target)
        try:
            # File names that are not UTF-8 contain surrogates, which cannot be encoded.
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        _raise_unwritable(path, error)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def _raise_unwritable(path: Path, error: OSError) -> NoReturn:
    reason = (error.strerror or str(error)).lower()
    raise UserError(
        f"cannot write {path}: {reason}; name a file in an existing, writable folder"
    ) from error


def to_json(results: Results) -> str:
    """The text of a result file. Its rows do not contain how long their runs took.

    Raises:
        ValueError: a figure is nan or infinite, which JSON does not support.
    """
    elapsed_s = tuple(row.elapsed_s for row in results.rows)
    rows = tuple(replace(row, elapsed_s=0.0) for row in results.rows)
    header = msgspec.to_builtins(replace(results, rows=rows, elapsed_s=elapsed_s))
    lines = ",\n".join(_strict(row) for row in header.pop("rows"))
    return f'{_strict(header)[:-1]}, "rows": [\n{lines}\n]}}\n'


def _strict(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def read(path: Path) -> Results:
    """Read a result file of any known format.

    Raises:
        ResultsError: the file does not exist or has other content.
    """
    try:
        found = json.loads(read_regular(path, MAX_BYTES), parse_constant=_reject_constant)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ResultsError(f"cannot read results from {path}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON: {error}") from error
    version = found.get("version", FORMAT) if isinstance(found, dict) else FORMAT
    if version not in (1, FORMAT):
        raise ResultsError(
            f"{path} has format {version!r}, but this version reads formats 1 to {FORMAT}; use the "
            "version that wrote it"
        )
    try:
        results = msgspec.convert(_from_format_1(found) if version == 1 else found, Results)
    except msgspec.ValidationError as error:
        raise ResultsError(
            f"{path} is not a result file: {error}; name a file that `autoscaler backtest "
            "--json` wrote"
        ) from error
    return _with_elapsed(results)


def _with_elapsed(results: Results) -> Results:
    """The same results with the time that each run took in its row."""
    if len(results.elapsed_s) != len(results.rows):
        return results  # of an earlier version, which wrote it into the rows
    pairs = zip(results.rows, results.elapsed_s, strict=True)
    rows = tuple(replace(row, elapsed_s=took) for row, took in pairs)
    return replace(results, rows=rows, elapsed_s=())


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


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid in JSON")
