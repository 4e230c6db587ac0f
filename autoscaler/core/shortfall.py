"""Allocations that are requested and do not run, and the status that the cluster reports.

After an update, its allocations take a while to start, which is no reason for an alert. A lost node
is a reason. The difference is whether the missing allocations ran before.
"""

from autoscaler.core.values import STARTED, STOPPING, DeploymentStats, FastStrEnum, Value

STARTING_LIMIT_S = 600.0
"""Seconds without progress after which allocations should have started. 10 min, because a large
model takes minutes to load, and a new node of a growing cluster takes minutes to join."""

_ROUTE_STARTING = "starting"
_ROUTE_FAILED = "failed"


class ShortfallCause(FastStrEnum):
    """Why fewer allocations run than are requested, as far as the statistics show it."""

    STARTING = "starting"  # they were requested recently
    LOST = "lost"  # they ran before
    UNPLACED = "unplaced"  # the cluster gives a reason, or no node loads the model after a failure
    OVERDUE = "overdue"  # none has started for `STARTING_LIMIT_S`


class Shortfall(Value, frozen=True, kw_only=True):
    """Fewer allocations run than are requested."""

    since: float
    progress_at: float  # when more were requested, or more ran, for the last time
    requested: int
    running: int
    lost: int  # missing allocations that ran before
    cause: ShortfallCause

    @property
    def missing(self) -> int:
        """Allocations that are requested and do not run."""
        return self.requested - self.running


class RouteStatus(Value, frozen=True, kw_only=True):
    """A node that does not serve the deployment, though it is assigned to it."""

    node: str  # its name, or its id
    state: str
    reason: str


class ReportedStatus(Value, frozen=True, kw_only=True):
    """The cluster's own words about a deployment that is not simply started."""

    state: str
    reason: str
    routes: tuple[RouteStatus, ...]


def requested_allocations(stats: DeploymentStats) -> int | None:
    """The allocations requested of the cluster; None: unknown."""
    return stats.allocations if stats.allocations is not None else stats.target_allocations


def shortfall_of(
    before: Shortfall | None, ran: int | None, stats: DeploymentStats, at: float
) -> Shortfall | None:
    """The shortfall that the statistics show, or the one before if they do not show it; None if all
    allocations run.

    Args:
        before: the shortfall that the statistics before showed.
        ran: the allocations that ran when that was last known; None: it never was.

    >>> def stats(requested, running):
    ...     return DeploymentStats(
    ...         "elser", "elser", "started", allocations=requested, running_allocations=running
    ...     )
    >>> lost = shortfall_of(None, 24, stats(24, 16), 10.0)
    >>> lost.cause, lost.lost
    (<ShortfallCause.LOST: 'lost'>, 8)
    >>> shortfall_of(None, 16, stats(24, 16), 10.0).cause
    <ShortfallCause.STARTING: 'starting'>
    >>> back = shortfall_of(lost, 16, stats(24, 22), 20.0)
    >>> back.lost, back.since
    (2, 10.0)
    """
    running, requested = stats.running_allocations, requested_allocations(stats)
    if running is None or requested is None:
        return before
    if running >= requested or stats.state == STOPPING:
        return None
    since = progress_at = at
    lost = 0
    if before is not None:
        since, lost = before.since, before.lost
        if requested <= before.requested and running <= before.running:
            progress_at = before.progress_at
    if ran is not None:
        # Allocations beyond the present request were given up, not lost.
        lost += max(0, min(ran, requested) - running)
    lost = min(lost, requested - running)
    if lost:
        cause = ShortfallCause.LOST
    elif _is_unplaced(stats):
        cause = ShortfallCause.UNPLACED
    elif at - progress_at > STARTING_LIMIT_S:
        cause = ShortfallCause.OVERDUE
    else:
        cause = ShortfallCause.STARTING
    return Shortfall(
        since=since,
        progress_at=progress_at,
        requested=requested,
        running=running,
        lost=lost,
        cause=cause,
    )


def reported_status(stats: DeploymentStats) -> ReportedStatus | None:
    """The status that the cluster reports; None if the deployment is started without a problem."""
    routes = stats.nodes
    # The usual case first: this is called for every deployment in every cycle.
    for node in routes:
        if node.routing_state != STARTED or node.routing_reason:
            break
    else:
        if not stats.reason and stats.state in (STARTED, ""):
            return None
    names = [node.name for node in routes]
    return ReportedStatus(
        state=stats.state,
        reason=stats.reason,
        routes=tuple(
            [
                RouteStatus(
                    node=node.name if node.name and names.count(node.name) == 1 else node.node_id,
                    state=node.routing_state,
                    reason=node.routing_reason,
                )
                for node in routes
                if node.routing_state != STARTED or node.routing_reason
            ]
        ),
    )


def _is_unplaced(stats: DeploymentStats) -> bool:
    states = {node.routing_state for node in stats.nodes}
    return _ROUTE_STARTING not in states and bool(stats.reason or _ROUTE_FAILED in states)
