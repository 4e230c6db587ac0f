"""The history, as endpoints."""

from collections.abc import Callable
from functools import partial

from autoscaler.adapters.admin_http.endpoints import ONE_DEPLOYMENT, ApiCall, Endpoint, LazyResponse
from autoscaler.adapters.admin_http.responses import RequestFailed
from autoscaler.wire.history import HistoryEntry, HistoryQuery, position_of, view_of
from autoscaler.wire.history_views import HistoryParameters, HistoryResponse

ReadHistory = Callable[[HistoryQuery], tuple[list[HistoryEntry], str]]
"""The entries that a query finds, and where they are kept; empty: in memory. May wait for a
disk."""


def history_endpoints(read: ReadHistory, version: str) -> tuple[Endpoint, ...]:
    """
    Args:
        version: the daemon's.
    """

    async def of_all(call: ApiCall) -> LazyResponse:
        return LazyResponse(partial(_response, read, version, call.query, None))

    async def of_one(call: ApiCall) -> LazyResponse:
        return LazyResponse(partial(_response, read, version, call.query, call.deployment_id))

    return (
        Endpoint(
            name="history",
            method="GET",
            path="/history",
            summary="What happened: to the deployments, the cluster and the daemon, newest first",
            response=HistoryResponse,
            query=HistoryParameters,
            handler=of_all,
        ),
        Endpoint(
            name="deployment_history",
            method="GET",
            path=f"{ONE_DEPLOYMENT}/history",
            summary="What happened to one deployment, which need not exist any more, and to the "
            "cluster and the daemon as a whole, newest first",
            response=HistoryResponse,
            query=HistoryParameters,
            handler=of_one,
        ),
    )


def _response(
    read: ReadHistory, version: str, given: HistoryParameters, deployment_id: str | None
) -> HistoryResponse:
    try:
        before = position_of(given.before) if given.before else None
    except ValueError as error:
        raise RequestFailed("before must be the value of next in an earlier response") from error
    # One more than is shown, to know whether there are more.
    query = HistoryQuery(deployment_id, given.since, before, given.limit + 1)
    found, kept_in = read(query)
    entries = found[: given.limit]
    return HistoryResponse(
        autoscaler=version,
        kept_in=kept_in,
        entries=tuple(view_of(each, whole=given.details) for each in entries),
        next=str(entries[-1].position) if len(found) > len(entries) else "",
    )
