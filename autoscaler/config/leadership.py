"""The table [leadership] -> where the lease is, and the conflicts between its keys and others."""

import os
from collections.abc import Iterator
from pathlib import Path

from autoscaler.config.document import LeadershipTable
from autoscaler.config.durations import format_duration
from autoscaler.config.values import LeaseSettings

MIN_DEFAULT_TTL_S = 15.0
"""The default of ttl in seconds is at least this. 15 s, as that of controllers of Kubernetes: a
lease is renewed every three seconds then."""

_ONLY_FOR = {"index": "elasticsearch", "namespace": "kubernetes", "file": "file"}


def lease_of(
    table: LeadershipTable, directory: Path, poll_interval_s: float, request_timeout_s: float
) -> LeaseSettings | None:
    """A relative path is relative to the directory. None: there is no lease."""
    if table.lease == "none":
        return None
    return LeaseSettings(
        kind=table.lease,
        ttl_s=table.ttl or max(MIN_DEFAULT_TTL_S, _min_ttl_s(poll_interval_s, request_timeout_s)),
        name=table.name,
        index=table.index,
        namespace=table.namespace,
        file=None if table.file is None else directory / table.file,
    )


def leadership_problems(
    table: LeadershipTable, directory: Path, poll_interval_s: float, request_timeout_s: float
) -> Iterator[tuple[str, str]]:
    """Keys of the table that conflict with others, each with a sentence about the problem."""
    min_s = _min_ttl_s(poll_interval_s, request_timeout_s)
    if table.ttl is not None and table.ttl < min_s:
        least, given = format_duration(min_s), format_duration(table.ttl)
        problem = f"must be at least poll_interval and two request_timeout, {least}, not {given}"
        yield "ttl", f"{problem}, so that a slow cycle ends within its lease"
    for key, kind in _ONLY_FOR.items():
        if key in table.model_fields_set and table.lease != kind:
            yield key, f'has no effect with lease = "{table.lease}"; remove it'
    if table.lease == "file":
        if table.file is None:
            yield "file", 'is required for lease = "file"'
        elif not os.access((directory / table.file).parent, os.W_OK | os.X_OK):
            yield "file", f"{table.file} cannot be written: its directory is missing or read-only"


def _min_ttl_s(poll_interval_s: float, request_timeout_s: float) -> float:
    return poll_interval_s + 2.0 * request_timeout_s
