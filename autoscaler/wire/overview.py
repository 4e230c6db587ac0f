"""All deployments at a glance: a row each, those in trouble first."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from autoscaler.core.condition import (
    GRAVITY,
    DeploymentCondition,
    Level,
    condition,
)
from autoscaler.core.decision import Decision, Outcome
from autoscaler.core.explanation import explain_outcome
from autoscaler.core.instructions import done_text
from autoscaler.core.rollout_status import state_text
from autoscaler.wire.decision_views import ResponseHeader


class DeploymentRow(Struct, frozen=True, kw_only=True):
    """One deployment at a glance. None: unknown, or the deployment does not have it."""

    deployment: str
    level: str  # trouble, attention, fine or unmanaged
    reasons: tuple[str, ...]  # for the level, the gravest first
    states: tuple[str, ...] = ()  # such as dry run
    mode: str = ""  # the control mode; empty: not managed
    running: int | None = None
    requested: int | None = None
    desired: int | None = None
    min_allocations: int | None = None
    max_allocations: int | None = None
    arrival_rate_per_s: float | None = None
    offered_load: float | None = None  # erlangs
    slo_target: float | None = None
    slo_attainment: float | None = None
    budget_left: float | None = None  # of the error budget; below 0: exceeded
    message: str = ""  # the latest decision in words, without the id


class OverviewResponse(ResponseHeader, frozen=True, kw_only=True):
    """The deployments of one page, and how many there are of each level."""

    levels: dict[str, int]  # of all deployments that match
    matching: int
    page: int  # from 1
    pages: int
    deployments: tuple[DeploymentRow, ...]  # in the order of `ordered`


Known = Outcome | DeploymentCondition
"""The outcome of a managed deployment; the condition of another."""


def ordered(known: Mapping[str, Known]) -> list[tuple[str, DeploymentCondition]]:
    """The deployments with their conditions: those in trouble first, of equal ones those that meet
    their SLO least, then by id."""
    conditions = [
        (name, condition(each) if isinstance(each, Outcome) else each)
        for name, each in known.items()
    ]
    return sorted(
        conditions,
        key=lambda each: (GRAVITY[each[1].level], _attainment(known[each[0]]), each[0]),
    )


def _attainment(known: Known) -> float:
    """The fraction of requests that met the SLO; 1 if it is not known, or there is no SLO."""
    slo = known.decision.slo if isinstance(known, Outcome) else None
    return 1.0 if slo is None or slo.attainment is None else slo.attainment


def levels_of(conditions: Iterable[DeploymentCondition]) -> dict[str, int]:
    """How many deployments there are of each level, zeros included."""
    levels = dict.fromkeys(map(str, Level), 0)
    for each in conditions:
        levels[each.level] += 1
    return levels


def row(deployment_id: str, found: DeploymentCondition, known: Known) -> DeploymentRow:
    """One deployment at a glance."""
    if isinstance(known, DeploymentCondition):
        return DeploymentRow(deployment=deployment_id, level=found.level, reasons=found.reasons)
    decision = known.decision
    load, slo = decision.load, decision.slo
    return DeploymentRow(
        deployment=deployment_id,
        level=found.level,
        reasons=found.reasons,
        states=states_of(decision),
        mode=decision.mode,
        running=decision.running,
        requested=decision.requested,
        desired=decision.desired,
        min_allocations=decision.min_allocations,
        max_allocations=decision.max_allocations,
        arrival_rate_per_s=None if load is None else load.arrival_rate_per_s,
        offered_load=None if load is None else load.offered_load,
        slo_target=None if slo is None else slo.target,
        slo_attainment=None if slo is None else slo.attainment,
        budget_left=None if slo is None else slo.budget_left,
        message=explain_outcome(known).removeprefix(f"{deployment_id} "),
    )


def states_of(decision: Decision) -> tuple[str, ...]:
    """What keeps the daemon from changing a deployment, and whether it is stopped or starting."""
    found = []
    if decision.dry_run:
        found.append("dry run")
    if decision.observe_only is not None:
        found.append("observe only")
    if decision.externally_controlled:
        found.append("externally controlled")
    found += map(done_text, decision.pauses)
    if decision.override is not None:
        found.append(done_text(decision.override))
    if decision.rollout is not None:
        found.append(state_text(decision.rollout))
    reason = decision.steps[0].reason
    if reason in ("stopped", "resume"):
        found.append("stopped" if reason == "stopped" else "resuming")
    elif decision.shortfall is not None and decision.shortfall.cause == "starting":
        found.append("starting")
    return tuple(found)
