"""The JSON of the status and of the list of deployments: all at a glance. Fields as in
`decision_views`: plain types, instants in Unix seconds, durations in `_s`; null is unknown."""

from typing import Annotated

from msgspec import Meta, Struct

from autoscaler.wire.decision_views import (
    InstructionView,
    LeadershipView,
    NextPollView,
    ResponseHeader,
)


class CountsView(Struct, frozen=True, kw_only=True):
    """How many deployments there are of each kind. One may be of several kinds."""

    managed: int
    unmanaged: int
    dry_run: int  # of the managed ones
    observe_only: int  # of the managed ones: the cluster would refuse every change
    paused: int  # of the managed ones
    overridden: int  # of the managed ones
    short: int  # of the managed ones: fewer allocations run than are requested


class StatusResponse(Struct, frozen=True, kw_only=True):
    """The daemon and its cluster at a glance."""

    autoscaler: str  # the version of the daemon
    cluster: str  # its name in the configuration; empty: it has none
    alive: bool
    ready: bool
    problem: str  # why it is not ready, or not alive; empty: it is both
    observed_at: float | None  # null: not yet
    age_s: float | None  # of the observation
    reload_failure: str  # why a changed configuration is not in effect; empty: it is
    next_poll: NextPollView | None
    leadership: LeadershipView | None  # null: there is one instance only
    deployments: CountsView | None  # null: not observed yet
    instructions: tuple[InstructionView, ...]  # of operators, in force
    state_saved: bool | None = None  # whether it outlives the process; null: unknown


class DeploymentSummary(Struct, frozen=True, kw_only=True):
    """One deployment at a glance. Where `status` is not managed, the figures are null."""

    deployment: str
    status: str  # managed, unmanaged or vanished
    message: str  # the last decision, or why there is none
    model: str = ""
    rule: str = ""
    mode: str = ""
    dry_run: bool = False
    observe_only: bool = False
    running: int | None = None
    requested: int | None = None
    recommended: int | None = None
    desired: int | None = None
    min_allocations: int | None = None
    max_allocations: int | None = None
    offered_load: float | None = None  # erlangs
    arrival_rate_per_s: float | None = None
    slo_target: float | None = None  # fraction of requests
    slo_attainment: float | None = None  # of about a day
    budget_left: float | None = None  # part of the error budget; below 0: exceeded
    reason: str = ""  # of the last step
    outcome: str = ""  # its kind
    paused: bool = False  # by an operator, wholly or in one direction
    overridden: int | None = None  # allocations that an operator has set; null: none
    unchanged_because: str = ""  # what keeps the allocations as they are


class SummariesResponse(ResponseHeader, frozen=True, kw_only=True):
    """All deployments at a glance."""

    deployments: tuple[DeploymentSummary, ...]  # in order of their ids


class DeploymentsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deployments to list."""

    deployment: Annotated[str, Meta(max_length=256, description="A glob pattern on the id.")] = "*"
