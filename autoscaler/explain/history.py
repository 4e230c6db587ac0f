"""The history, from a running daemon or from the file of one that does not run."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from autoscaler import __version__
from autoscaler.adapters.admin_http.client import (
    URL_HINT,
    AdminRequestFailed,
    DaemonAddress,
    refusal_of,
    send,
)
from autoscaler.adapters.state import FileHistory
from autoscaler.wire.history import HistoryQuery, view_of
from autoscaler.wire.history_views import HistoryEntryView, HistoryResponse

PAGE = 500
"""Entries of one request. 500 whole decisions are about 2 MB."""


class Wanted(NamedTuple):
    """What is shown of the history."""

    deployment_id: str | None  # with what happened to the whole; None: all
    since: float  # Unix seconds
    limit: int  # entries at most: the latest ones
    details: bool  # whether decisions have their steps


async def fetch_history(daemon: DaemonAddress, wanted: Wanted) -> HistoryResponse:
    """Request the history from the daemon.

    Raises:
        AdminRequestFailed: no daemon responds, or it rejects the request, or nothing is recorded of
            the deployment, and the cluster does not have it.
    """
    place = (
        "" if wanted.deployment_id is None else f"/deployments/{quote(wanted.deployment_id, '')}"
    )
    entries: list[HistoryEntryView] = []
    before = ""
    while True:
        parameters = {
            "since": repr(wanted.since),
            "limit": min(PAGE, wanted.limit - len(entries)),
            "details": str(wanted.details).lower(),
            "before": before,
        }
        page = await _fetch_page(daemon, f"/api/v1{place}/history?{urlencode(parameters)}")
        entries += page.entries
        before = page.next
        if not before or len(entries) >= wanted.limit:
            break
    if wanted.deployment_id is not None and not before and not any(e.deployment for e in entries):
        await _ensure_known(daemon, wanted.deployment_id)
    return msgspec.structs.replace(page, entries=tuple(entries))


async def _ensure_known(daemon: DaemonAddress, deployment_id: str) -> None:
    """
    Raises:
        AdminRequestFailed: the cluster has no such deployment.
    """
    status, body = await send("GET", daemon, f"/decisions/{quote(deployment_id, '')}")
    if status != 404:
        return  # also where the cluster has not been observed yet
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refused = refusal_of(daemon, status, body)
        raise AdminRequestFailed(f"{refused}, and nothing is recorded of it in this time")


async def _fetch_page(daemon: DaemonAddress, path: str) -> HistoryResponse:
    status, body = await send("GET", daemon, path)
    try:
        if status != 200:
            raise refusal_of(daemon, status, body)
        return msgspec.json.decode(body, type=HistoryResponse)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AdminRequestFailed(
            f"unexpected response from {daemon.url}: {status} to GET {path}; {URL_HINT}"
        ) from error


def read_history(directory: Path, wanted: Wanted) -> HistoryResponse:
    """Read the history in a state directory. That changes nothing there.

    Raises:
        HistoryUnreadable: there is none, or it cannot be read.
    """
    file = FileHistory(directory)
    query = HistoryQuery(wanted.deployment_id, wanted.since, limit=wanted.limit + 1)
    found = file.read(query)
    entries = found[: wanted.limit]
    return HistoryResponse(
        autoscaler=__version__,
        kept_in=str(file.path),
        entries=tuple(view_of(each, whole=wanted.details) for each in entries),
        next=str(entries[-1].position) if len(found) > len(entries) else "",
    )
