"""Why every deployment has the allocations it has, for whoever asks."""

import difflib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from autoscaler.adapters.admin_http.document import (
    DeploymentResponse,
    DeploymentsResponse,
    DeploymentView,
    managed,
    unmanaged,
    unreadable,
)
from autoscaler.core.values import Observation, Outcome, OutcomeKind, Plan, Unmanaged, Value
from autoscaler.ports import Clock, CycleTimes, ObservationFailed

FORGET_AFTER_S = 3600.0
"""The last update of a deployment that has gone is kept so long; one that returns is the same."""

_NOT_SENT = frozenset({OutcomeKind.UNCHANGED, OutcomeKind.DRY_RUN, OutcomeKind.WITHHELD})


class NoObservationYet(Exception):
    """There has been no cycle to tell of."""


class NoSuchDeployment(Exception):
    """The last observation has no deployment of this id."""


class _Cycle(Value, frozen=True, kw_only=True):
    plan: Plan
    outcomes: tuple[Outcome, ...]
    unreadable: Mapping[str, str]
    updates: Mapping[str, Outcome]  # the last one sent, by deployment

    @property
    def deployments(self) -> dict[str, Outcome | Unmanaged | str]:
        """Of every deployment its outcome, why it is unmanaged, or why it cannot be read."""
        by_id = {outcome.decision.deployment_id: outcome for outcome in self.outcomes}
        return {**self.unreadable, **self.plan.unmanaged, **by_id}


class DecisionRecorder:
    """A Recorder that keeps the last cycle, and puts it into words when it is asked.

    Recording costs next to nothing. Whoever asks may do so from another thread, since a cycle is
    immutable and replaced as a whole.
    """

    def __init__(self, clock: Clock, version: str) -> None:
        self.version = version
        self._clock = clock
        self._cycle: _Cycle | None = None
        self._failure = ""

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        before = self._cycle.updates if self._cycle else {}
        updates = {
            deployment_id: outcome
            for deployment_id, outcome in before.items()
            if deployment_id in observation.deployments
            or observation.at - outcome.at < FORGET_AFTER_S
        }
        for outcome in outcomes:
            if outcome.kind not in _NOT_SENT:
                updates[outcome.decision.deployment_id] = outcome
        self._cycle = _Cycle(
            plan=plan, outcomes=outcomes, unreadable=observation.unreadable, updates=updates
        )
        self._failure = ""

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._failure = str(failure)

    def list_deployments(self, glob: str = "*") -> DeploymentsResponse:
        """The deployments whose ids match, with their reasons.

        Raises:
            NotObserved: the cluster has not been observed yet.
        """
        cycle = self._observed()
        told = [
            _tell(deployment_id, what, cycle.updates.get(deployment_id))
            for deployment_id, what in sorted(cycle.deployments.items())
            if fnmatchcase(deployment_id, glob)
        ]
        return DeploymentsResponse(**self._heading(cycle), deployments=tuple(told))

    def get_deployment(self, deployment_id: str) -> DeploymentResponse:
        """One deployment, with its reasons.

        Raises:
            NotObserved: the cluster has not been observed yet.
            NoSuchDeployment: the message says which was perhaps meant.
        """
        cycle = self._observed()
        deployments = cycle.deployments
        if deployment_id not in deployments:
            alike = difflib.get_close_matches(deployment_id, deployments, n=1)
            meant = f"; did you mean {alike[0]}?" if alike else ""
            raise NoSuchDeployment(f"the cluster reports no deployment {deployment_id}{meant}")
        told = _tell(deployment_id, deployments[deployment_id], cycle.updates.get(deployment_id))
        return DeploymentResponse(**self._heading(cycle), deployment=told)

    def _observed(self) -> _Cycle:
        if self._cycle is None:
            failure = f": {self._failure}" if self._failure else ""
            raise NoObservationYet(f"the cluster has not been observed yet{failure}")
        return self._cycle

    def _heading(self, cycle: _Cycle) -> dict[str, Any]:
        return {
            "autoscaler": self.version,
            "at": cycle.plan.at,
            "age_s": max(0.0, self._clock.now() - cycle.plan.at),
            "failure": self._failure,
        }


def _tell(
    deployment_id: str, what: Outcome | Unmanaged | str, last: Outcome | None
) -> DeploymentView:
    if isinstance(what, Outcome):
        return managed(what, last)
    if isinstance(what, Unmanaged):
        return unmanaged(deployment_id, what)
    return unreadable(deployment_id, what)
