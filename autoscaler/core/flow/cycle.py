"""One cycle without its I/O: from an observation to the updates, and from their outcomes to the
state for the next cycle.

The daemon and the back-test both call these functions. They differ in where observations come from
and in how updates are sent.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

from autoscaler.core.decision import Decision, Outcome, OutcomeKind, Plan
from autoscaler.core.flow.feedback import apply_outcomes
from autoscaler.core.flow.planning import Parts, Ruleset, plan_in_parts, whole
from autoscaler.core.state import State
from autoscaler.core.values import Observation, Schedule, Value

UtcOffset = Callable[[float, str], float]
"""Returns the offset of local time from UTC at an instant in Unix seconds, in seconds, by the name
of a time zone."""

OpenAt = Callable[[float, Iterable[Schedule]], Collection[Schedule]]
"""Returns the schedules whose window is open at an instant, in Unix seconds."""


class Cycle(Value, frozen=True, kw_only=True):
    """The decisions of one cycle, before any update is sent."""

    plan: Plan
    state: State  # to be passed to `end_cycle`

    @property
    def updates(self) -> list[Decision]:
        """The decisions to carry out, in the order of sending: decreases first, since they free
        capacity; then increases, the largest ratio first. Those that are not sent are left
        out."""
        return sorted(
            [
                decision
                for decision in self.plan.decisions
                if decision.change is not None and decision.sends
            ],
            key=_sending_order,
        )


def begin_cycle(
    state: State,
    observation: Observation,
    ruleset: Ruleset,
    open_at: OpenAt | None = None,
    blind_s: Mapping[str, float] = MappingProxyType({}),
    utc_offset_s: UtcOffset | None = None,
) -> Cycle:
    """Decide every managed deployment's allocations.

    Args:
        open_at: the calendar; None: no schedule is ever open.
        blind_s: seconds since the last measurement, by deployment id; left out: none.
        utc_offset_s: the calendar; None: local time is UTC.
    """
    return whole(begin_cycle_in_parts(state, observation, ruleset, open_at, blind_s, utc_offset_s))


def begin_cycle_in_parts(
    state: State,
    observation: Observation,
    ruleset: Ruleset,
    open_at: OpenAt | None,
    blind_s: Mapping[str, float],
    utc_offset_s: UtcOffset | None = None,
) -> Parts[Cycle]:
    """The same, with a yield before each deployment."""
    open_schedules: Collection[Schedule] = ()
    if open_at is not None:
        schedules = {schedule for rule in ruleset.rules for schedule in rule.schedules}
        if schedules:
            open_schedules = open_at(observation.at, schedules)
    offsets_s: dict[str, float] = {}
    if utc_offset_s is not None:
        zones = {rule.rollout.timezone for rule in ruleset.rules if rule.rollout is not None}
        offsets_s = {zone: utc_offset_s(observation.at, zone) for zone in zones}
    parts = plan_in_parts(state, observation, ruleset, open_schedules, blind_s, offsets_s)
    planned, after = yield from parts
    return Cycle(plan=planned, state=after)


def end_cycle(
    planned: Plan, outcomes: Mapping[str, Outcome], state: State
) -> tuple[tuple[Outcome, ...], State]:
    """The outcome of every decision, in the order of the plan, and the state for the next cycle.

    Args:
        outcomes: of the updates, by deployment id.
        state: that of the cycle, with the resume requests that have arrived since.
    """
    complete = tuple(
        [
            outcomes.get(decision.deployment_id) or _unsent(decision)
            for decision in planned.decisions
        ]
    )
    return complete, apply_outcomes(state, complete)


def _unsent(decision: Decision) -> Outcome:
    if decision.change is None:
        return Outcome(decision=decision, kind=OutcomeKind.UNCHANGED, at=decision.at)
    if decision.dry_run or decision.observe_only is None:
        return Outcome(decision=decision, kind=OutcomeKind.DRY_RUN, at=decision.at)
    return Outcome(
        decision=decision,
        kind=OutcomeKind.OBSERVE_ONLY,
        at=decision.at,
        detail=decision.observe_only.sentence,
    )


def _sending_order(decision: Decision) -> tuple[bool, float]:
    return (
        decision.desired > decision.current,
        -decision.desired / max(decision.current, 1),
    )
