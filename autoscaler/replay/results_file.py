"""Results of a replay as JSON, written as a whole or not at all, and read again."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from autoscaler.errors import InputError
from autoscaler.files import read_regular
from autoscaler.replay.results import ReplayResults
from autoscaler.text import printable

MAX_BYTES = 256 * 2**20
"""The size limit of a file that is read. A deployment with a month of hours takes 120 kB."""

FORMAT = "autoscaler-replay"
VERSION = 1
"""It is raised when an older program could misread a newer file."""


MAX_AT = 253_402_300_799.0 - 86_400.0
"""Unix seconds: a day before the end of the year 9999, after which there are no dates."""


class FileVersion(Struct, frozen=True, kw_only=True):
    """What a file of any version contains."""

    format: str
    version: int


class ReplayFile(Struct, frozen=True, kw_only=True):
    """What a file contains."""

    format: str = FORMAT
    version: int = VERSION
    made_at: str  # ISO 8601
    results: ReplayResults


class ReplayFileError(InputError):
    """A file cannot be read as results of a replay. The message names it."""


def to_json(results: ReplayResults, made_at: str) -> str:
    """The text of a file."""
    document = msgspec.to_builtins(ReplayFile(made_at=made_at, results=results))
    return json.dumps(document, allow_nan=False) + "\n"


def read_results(path: Path) -> ReplayFile:
    """
    Raises:
        ReplayFileError: the file does not exist or has other content.
    """
    try:
        content = read_regular(path, MAX_BYTES)
        # The version before the rest, which may differ in a later one.
        version = msgspec.json.decode(content, type=FileVersion)
        _ensure_known(path, version)
        found = msgspec.json.decode(content, type=ReplayFile)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ReplayFileError(f"cannot read results from {path}: {reason}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReplayFileError(
            f"{path} has no results: {error}; name a file that `autoscaler replay --json` wrote"
        ) from error
    if any(not 0.0 <= at <= MAX_AT for at in _times(found.results)):
        raise ReplayFileError(f"{path} is damaged: a time is outside the years 1970 to 9999")
    for each in found.results.deployments:
        if any(moment.deployment != each.deployment for moment in each.moments):
            raise ReplayFileError(
                f"{path} is damaged: {printable(each.deployment)} has a moment of another "
                "deployment"
            )
    return found


def _times(results: ReplayResults) -> Iterator[float]:
    yield from (results.since, results.until)
    for each in results.deployments:
        yield from (each.since, each.until)
        yield from (hour.at for hour in each.hours)
        yield from (moment.at for moment in each.moments)


def _ensure_known(path: Path, found: FileVersion) -> None:
    if found.format != FORMAT or found.version > VERSION:
        raise ReplayFileError(
            f"{path} has version {found.version} of {found.format[:60]!r}, but this program reads "
            f"{FORMAT} up to version {VERSION}; use a later release"
        )
