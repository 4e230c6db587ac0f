"""The latest decision for every deployment, as the response of /decisions."""

import difflib
import re
from collections.abc import Collection, Mapping
from fnmatch import translate
from typing import Any

from msgspec.structs import replace

from autoscaler.adapters.admin_http.responses import RequestFailed
from autoscaler.core.condition import (
    DeploymentCondition,
    Level,
    condition,
    unmanaged_condition,
    unreadable_condition,
)
from autoscaler.core.decision import NOT_SENT, Outcome, OutcomeKind, Plan, Unmanaged
from autoscaler.core.shadow import ShadowStatus
from autoscaler.core.shadow_text import shadow_text
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import Observation, Value
from autoscaler.ports import (
    Clock,
    CycleTimes,
    Leadership,
    ObservationFailed,
    OperatorRequests,
)
from autoscaler.wire.decision_views import (
    DeploymentResponse,
    DeploymentsResponse,
    DeploymentView,
    InstructionView,
    LeadershipView,
    ResponseHeader,
)
from autoscaler.wire.decisions import managed, next_poll, unmanaged, unreadable, vanished
from autoscaler.wire.instruction_views import instruction_views
from autoscaler.wire.overview import DeploymentRow, OverviewResponse, levels_of, ordered, row
from autoscaler.wire.shadow_views import ShadowResponse, period_views, together_view
from autoscaler.wire.status_views import CountsView
from autoscaler.wire.summaries import counts

VANISHED_S = 86_400.0
"""Seconds for which a vanished deployment is still shown. A day, so that what happened at night is
seen in the morning."""

MAX_VANISHED = 100
"""Maximum number of vanished deployments to show. 100, because test clusters create and delete
deployments all day."""

ROWS_PER_PAGE = 100
"""Deployments on one page of the overview. 100, which a browser lays out at once."""


class NoObservationYet(RequestFailed):
    """No cycle has been completed yet."""

    status = 503


class NoSuchDeployment(RequestFailed):
    """The last observation contains no deployment with this id."""

    status = 404


class _Vanished(Value, frozen=True):
    """A deployment that was reported, and is not any more."""

    at: float  # of the first observation without it
    allocations: int | None


class _Cycle(Value, frozen=True, kw_only=True):
    plan: Plan
    outcomes: tuple[Outcome, ...]
    unreadable: Mapping[str, str]
    updates: Mapping[str, Outcome]  # the last one sent, by deployment
    allocations: Mapping[str, int | None]  # as requested, by deployment
    vanished: Mapping[str, _Vanished]  # the latest ones

    @property
    def deployments(self) -> dict[str, Outcome | Unmanaged | str | _Vanished]:
        """For every deployment: its outcome, why it is not managed, why it is unreadable, or when
        it vanished."""
        by_id = {outcome.decision.deployment_id: outcome for outcome in self.outcomes}
        return {**self.vanished, **self.unreadable, **self.plan.unmanaged, **by_id}


class DecisionRecorder:
    """A Recorder that keeps the last cycle, and renders it on request.

    Recording costs next to nothing. Requests may come from other threads, since a cycle is
    immutable and replaced as a whole.
    """

    def __init__(self, clock: Clock, version: str) -> None:
        self.version = version
        self._clock = clock
        self._cycle: _Cycle | None = None
        self._failure = ""
        self.leadership: Leadership | None = None  # None: this is the only instance
        self.operators: OperatorRequests | None = None  # None: they cannot instruct
        self.reload_failure = ""  # why a changed configuration is not in effect

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        before = self._cycle.updates if self._cycle else {}
        decided = {decision.deployment_id for decision in plan.decisions}  # stopped ones, too
        updates = {
            deployment_id: outcome
            for deployment_id, outcome in before.items()
            if deployment_id in decided or observation.at - outcome.at < FORGET_AFTER_S
        }
        for failed in plan.no_effect:
            if (last := updates.get(failed.deployment_id)) is not None:
                updates[failed.deployment_id] = replace(last, kind=OutcomeKind.NO_EFFECT)
        for outcome in outcomes:
            if outcome.kind not in NOT_SENT:
                updates[outcome.decision.deployment_id] = outcome
        allocations = {name: each.allocations for name, each in observation.deployments.items()}
        known = allocations.keys() | observation.unreadable.keys()
        known |= decided
        self._cycle = _Cycle(
            plan=plan,
            outcomes=outcomes,
            unreadable=observation.unreadable,
            updates=updates,
            allocations=allocations,
            vanished=_vanished(self._cycle, known, observation.at),
        )
        self._failure = ""

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._failure = str(failure)
        if self._cycle is not None and failure.outcomes:
            sent = {
                outcome.decision.deployment_id: outcome
                for outcome in failure.outcomes
                if outcome.kind not in NOT_SENT
            }
            self._cycle = replace(self._cycle, updates={**self._cycle.updates, **sent})

    def instruction_views(self) -> tuple[InstructionView, ...]:
        """The instructions of operators that are in force."""
        if self.operators is None:
            return ()
        return instruction_views(self.operators.in_force(), self._clock.now())

    @property
    def has_observed(self) -> bool:
        """Whether there is a cycle to show."""
        return self._cycle is not None

    def leadership_view(self) -> LeadershipView | None:
        """Which instance leads; None: there is one only."""
        return None if self.leadership is None else _leadership(self.leadership)

    def list_deployments(self, glob: str = "*") -> DeploymentsResponse:
        """The deployments whose ids match, with their reasons.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
        """
        cycle = self._observed()
        # fnmatch keeps 32,768 compiled patterns, which requests could fill; re keeps 512.
        matches = re.compile(translate(glob)).match
        views = [
            _view(deployment_id, result, cycle.updates.get(deployment_id))
            for deployment_id, result in sorted(cycle.deployments.items())
            if matches(deployment_id)
        ]
        return DeploymentsResponse(**self._heading(cycle), deployments=tuple(views))

    def overview(self, text: str = "", level: str = "", page: int = 1) -> OverviewResponse:
        """One page of the deployments, those in trouble first.

        Args:
            text: a part of their ids, in any case.
            level: a level of conditions; empty: all.
            page: from 1; the last one if there are fewer.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
        """
        cycle = self._observed()
        found = cycle.deployments
        wanted = text.casefold()
        known = {
            name: each if isinstance(each, Outcome) else _condition(name, each)
            for name, each in found.items()
            if wanted in name.casefold()
        }
        conditions = ordered(known)
        levels = levels_of(each for _, each in conditions)
        if level:
            conditions = [each for each in conditions if each[1].level == level]
        pages = max(1, -(-len(conditions) // ROWS_PER_PAGE))
        page = min(max(1, page), pages)
        shown = conditions[(page - 1) * ROWS_PER_PAGE : page * ROWS_PER_PAGE]
        return OverviewResponse(
            **self._heading(cycle),
            levels=levels,
            matching=len(conditions),
            page=page,
            pages=pages,
            deployments=tuple(row(name, each, known[name]) for name, each in shown),
        )

    def header(self) -> ResponseHeader:
        """What every response begins with.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
        """
        return ResponseHeader(**self._heading(self._observed()))

    def counts(self) -> CountsView:
        """How many deployments there are of each kind.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
        """
        cycle = self._observed()
        managed = {outcome.decision.deployment_id for outcome in cycle.outcomes}
        others = (cycle.unreadable.keys() | cycle.plan.unmanaged.keys()) - managed
        return counts((outcome.decision for outcome in cycle.outcomes), len(others))

    def row(self, deployment_id: str) -> DeploymentRow:
        """One deployment at a glance.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
            NoSuchDeployment: the cluster has none with this id.
        """
        known = self._observed().deployments.get(deployment_id)
        if known is None:
            raise NoSuchDeployment(f"{deployment_id}: not found in the cluster")
        if isinstance(known, Outcome):
            return row(deployment_id, condition(known), known)
        found = _condition(deployment_id, known)
        return row(deployment_id, found, found)

    def get_deployment(self, deployment_id: str) -> DeploymentResponse:
        """One deployment, with its reasons.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
            NoSuchDeployment: the message suggests a similar id, if there is one.
        """
        cycle = self._observed()
        deployments = cycle.deployments
        if deployment_id not in deployments:
            similar = difflib.get_close_matches(deployment_id, deployments, n=1)
            suggestion = f"; did you mean {similar[0]}?" if similar else ""
            raise NoSuchDeployment(f"{deployment_id}: not found in the cluster{suggestion}")
        view = _view(deployment_id, deployments[deployment_id], cycle.updates.get(deployment_id))
        return DeploymentResponse(**self._heading(cycle), deployment=view)

    def get_shadow(self, deployment_id: str) -> ShadowResponse:
        """What a dry run would have done with one deployment.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
            NoSuchDeployment: there is none with this id, or it has no shadow.
        """
        shadow = self.shadow(deployment_id)
        if shadow is None:
            raise NoSuchDeployment(
                f"{deployment_id}: nothing is known of what a dry run would have done; it is in no "
                "dry run, or its number of allocations is set by others"
            )
        return ShadowResponse(
            **self._heading(self._observed()),
            deployment=deployment_id,
            requested=shadow.requested,
            running=shadow.running,
            message=shadow_text(shadow),
            days=period_views(shadow),
            together=together_view(shadow),
        )

    def shadow(self, deployment_id: str) -> ShadowStatus | None:
        """What a dry run would have done with one deployment; None: it has no shadow.

        Raises:
            NoObservationYet: the cluster has not been observed yet.
            NoSuchDeployment: the cluster has none with this id.
        """
        known = self._observed().deployments.get(deployment_id)
        if known is None:
            raise NoSuchDeployment(f"{deployment_id}: not found in the cluster")
        return known.decision.shadow if isinstance(known, Outcome) else None

    def _observed(self) -> _Cycle:
        if self._cycle is None:
            failure = f": {self._failure}" if self._failure else ""
            raise NoObservationYet(f"the cluster has not been observed yet{failure}")
        return self._cycle

    def _heading(self, cycle: _Cycle) -> dict[str, Any]:
        # After a failure, the interval is longer than planned, and not known here.
        planned = None if self._failure else cycle.plan.next_poll
        return {
            "autoscaler": self.version,
            "at": cycle.plan.at,
            "age_s": max(0.0, self._clock.now() - cycle.plan.at),
            "failure": self._failure,
            "reload_failure": self.reload_failure,
            "leadership": self.leadership_view(),
            "next_poll": None if planned is None else next_poll(planned),
        }


def _leadership(leadership: Leadership) -> LeadershipView:
    return LeadershipView(
        instance=leadership.name,
        leads=leadership.leads(),
        leader=leadership.leader,
        failure=leadership.failure,
    )


def _vanished(before: _Cycle | None, known: Collection[str], at: float) -> dict[str, _Vanished]:
    """The deployments that have vanished, the latest ones last."""
    if before is None:
        return {}
    found = {
        name: each
        for name, each in before.vanished.items()
        if name not in known and at - each.at < VANISHED_S
    }
    for name, allocations in before.allocations.items():
        if name not in known:
            found[name] = _Vanished(at, allocations)
    return dict(list(found.items())[-MAX_VANISHED:])


def _condition(deployment_id: str, result: Unmanaged | str | _Vanished) -> DeploymentCondition:
    if isinstance(result, _Vanished):
        view = vanished(deployment_id, result.at, result.allocations)
        return DeploymentCondition(
            Level.UNMANAGED, (view.message.removeprefix(f"{deployment_id} "),)
        )
    if isinstance(result, Unmanaged):
        return unmanaged_condition(result)
    return unreadable_condition(result)


def _view(
    deployment_id: str, result: Outcome | Unmanaged | str | _Vanished, last: Outcome | None
) -> DeploymentView:
    if isinstance(result, _Vanished):
        return vanished(deployment_id, result.at, result.allocations)
    if isinstance(result, Outcome):
        return managed(result, last)
    if isinstance(result, Unmanaged):
        return unmanaged(deployment_id, result)
    return unreadable(deployment_id, result)
