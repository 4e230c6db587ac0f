"""`autoscaler export`: a recording as a file of intervals. And `autoscaler record`: a daemon that
records, and changes nothing."""

import hashlib
import hmac
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from autoscaler import __version__
from autoscaler.adapters.recording import (
    FILE_NAME,
    RecordingFile,
    RecordingLimits,
    recorded_intervals,
)
from autoscaler.config import Config, RecordingSettings
from autoscaler.core.selection import OnExit
from autoscaler.errors import UserError
from autoscaler.interval_files import write_intervals
from autoscaler.sqlite_files import DatabaseUnusable
from autoscaler.wire.intervals import Hardware, IntervalsHeader, Line, LoadInterval

MIN_KEY_BYTES = 16
"""The size of a key of hashes at least. 16 bytes, which cannot be guessed."""

_HASH_DIGITS = 16
"""Hexadecimal digits of a hash. 16: among thousands of ids, no two have the same."""

_UNKNOWN = (
    "when the requests of an interval arrived within it",
    "how long each request waited: late requests are computed from counts",
)


class Exported(Struct, frozen=True, kw_only=True):
    """What was written."""

    intervals: int
    deployments: int


class Hashes:
    """Replaces ids by hashes: equal ones by equal hashes, which say nothing without the key.

    Args:
        key: None: a random one, which nothing keeps.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        self._known: dict[tuple[str, str], str] = {}

    def line(self, line: Hardware | LoadInterval) -> Hardware | LoadInterval:
        """The line without any id."""
        if isinstance(line, Hardware):
            return replace(
                line, nodes=tuple([replace(node, id=self._node(node.id)) for node in line.nodes])
            )
        return replace(
            line,
            deployment=self._hash("deployment", line.deployment),
            model=line.model and self._hash("model", line.model),
            nodes=tuple([replace(node, node=self._node(node.node)) for node in line.nodes]),
        )

    def _node(self, name: str) -> str:
        return self._hash("node", name)

    def _hash(self, kind: str, name: str) -> str:
        known = self._known.get((kind, name))
        if known is None:
            digest = hmac.new(self._key, f"{kind} {name}".encode(), hashlib.sha256).hexdigest()
            known = self._known[kind, name] = f"{kind}-{digest[:_HASH_DIGITS]}"
        return known


def export(
    recording: Path,
    target: Path,
    since: float,
    until: float,
    *,
    hashes: Hashes | None = None,
    warn: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Exported:
    """Write the intervals of a recording to a file, also while a daemon records.

    Args:
        recording: the file.
        target: the file to write, `.jsonl` or `.jsonl.zst`.
        since, until: Unix seconds.
        hashes: None: ids are written as they are.
        warn: called with a sentence for each part that is damaged, and is left out.
        progress: called with the cycles that were read, and with all.

    Raises:
        RecordingUnreadable: there is no recording, or it cannot be read.
        UserError: the file cannot be written.
    """
    header = IntervalsHeader(
        source="recording",
        program=f"autoscaler {__version__}",
        hashed=hashes is not None,
        unknown=_UNKNOWN,
    )
    found: set[str] = set()
    intervals = 0

    def lines() -> Iterator[Line]:
        nonlocal intervals
        yield header
        read: Iterable[Hardware | LoadInterval] = recorded_intervals(
            recording, since, until, warn=warn, progress=progress
        )
        for line in read:
            if isinstance(line, LoadInterval):
                found.add(line.deployment)
                intervals += 1
            yield line if hashes is None else hashes.line(line)

    write_intervals(target, lines())
    return Exported(intervals=intervals, deployments=len(found))


def recording_path(config: Config) -> Path:
    """The recording of a configuration, which may have been switched off since.

    Raises:
        UserError: no directory is known.
    """
    directory = config.state_dir if config.recording is None else config.recording.directory
    if directory is None:
        raise UserError(
            "the configuration has no state directory, so there is no recording; set directory in "
            "[recording], or name a file with --recording"
        )
    return directory / FILE_NAME


def record_only(config: Config) -> Config:
    """The configuration of a daemon that records, and changes nothing.

    It has no lease and no state, so that it does not touch those of a daemon that acts, and it
    sends nothing to the cluster but requests for statistics.

    Raises:
        UserError: cycles are not recorded.
    """
    _settings(config)
    return replace(
        config,
        dry_run=True,
        rules=tuple(
            [replace(rule, dry_run=True, on_exit=OnExit.KEEP, zero=None) for rule in config.rules]
        ),
        lease=None,
        state_dir=None,
        state_index=None,
        state_file=None,
        otlp=None,
    )


def ensure_recordable(config: Config) -> None:
    """
    Raises:
        UserError: cycles are not recorded, or could not be: also while another process records to
            the same file.
    """
    wanted = _settings(config)
    file = RecordingFile(wanted.directory, RecordingLimits(wanted.max_age_s, wanted.max_bytes))
    try:
        file.open(time.time())
    except DatabaseUnusable as error:
        raise UserError(str(error)) from error
    except sqlite3.Error as error:
        raise UserError(f"{file.path} cannot be written: {error}") from error
    finally:
        file.give_up()


def _settings(config: Config) -> RecordingSettings:
    if config.recording is None:
        raise UserError(
            "cycles are not recorded, because enabled = false is set in [recording], or no "
            "directory is known; set enabled = true and directory"
        )
    return config.recording
