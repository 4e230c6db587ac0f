"""Deployments whose load cannot be measured for many cycles, and what their rules say about that.

`blind_allocations` of a rule is a number of allocations that is sufficient without measurements. It
applies after `blind_after` without any, and only increases. Without it, the allocations are held.
"""

from collections.abc import Iterable, Mapping
from typing import Self

from msgspec.structs import replace

from autoscaler.core.decision import Change, Outcome, OutcomeKind, Plan, SetAllocations, SetBounds
from autoscaler.core.values import (
    STARTED,
    AdaptiveAllocations,
    DeploymentStats,
    Observation,
    Reason,
    Value,
)

_MAY_BE_IN_FORCE = frozenset({OutcomeKind.UNKNOWN, OutcomeKind.UNRECOGNISED})


class LastKnown(Value, frozen=True):
    """What is known if the next statistics cannot be read."""

    # The last one, with the settings of the changes that were sent after it.
    observation: Observation | None = None
    measured_at: Mapping[str, float] = {}  # last, or first observed, by managed deployment

    def observed(self, observation: Observation, planned: Plan) -> Self:
        """What is known after an observation, and what was decided from it."""
        measured_at = {
            decision.deployment_id: self.measured_at.get(decision.deployment_id, planned.at)
            if decision.sample.issues
            else planned.at
            for decision in planned.decisions
        }
        return replace(self, observation=observation, measured_at=measured_at)

    def blind_s(self, at: float) -> dict[str, float]:
        """Seconds since the last measurement, by deployment id."""
        return {name: at - measured_at for name, measured_at in self.measured_at.items()}

    def changed(self, outcomes: Iterable[Outcome]) -> Self:
        """What is known after changes were sent. Of a change that may have been refused, increases
        count."""
        if self.observation is None:
            return self
        deployments = dict(self.observation.deployments)
        for outcome in outcomes:
            decision, kind = outcome.decision, outcome.kind
            name, change = decision.deployment_id, decision.change
            increases = decision.desired > decision.current
            if name not in deployments or change is None:
                continue
            if kind is OutcomeKind.ACCEPTED or (kind in _MAY_BE_IN_FORCE and increases):
                deployments[name] = _changed(deployments[name], change)
        return replace(self, observation=replace(self.observation, deployments=deployments))


def without_responses(observation: Observation, at: float) -> Observation:
    """What is known at `at` if the statistics cannot be read: the settings of an earlier
    observation, and no node that responds. Deployments that no node served are left out."""
    return replace(
        observation,
        at=at,
        requested_at=None,
        deployments={
            name: replace(
                stats, nodes=tuple([replace(node, server_started_at=None) for node in stats.nodes])
            )
            for name, stats in observation.deployments.items()
            if any(node.routing_state == STARTED for node in stats.nodes)
        },
    )


def blind_decisions(planned: Plan) -> Plan:
    """The plan with the increases to `blind_allocations`, and nothing else. What an operator has
    overridden stays as it is."""
    decisions = tuple(
        [
            decision
            for decision in planned.decisions
            if decision.steps[0].reason is Reason.BLIND
            and decision.desired > decision.current
            and decision.override is None
        ]
    )
    return Plan(at=planned.at, decisions=decisions)


def _changed(stats: DeploymentStats, change: Change) -> DeploymentStats:
    match change:
        case SetAllocations(allocations=allocations):
            return replace(stats, allocations=allocations)
        case SetBounds(minimum=minimum, maximum=maximum):
            adaptive = AdaptiveAllocations(enabled=True, minimum=minimum, maximum=maximum)
            return replace(stats, adaptive=adaptive)
        case _:
            return stats
