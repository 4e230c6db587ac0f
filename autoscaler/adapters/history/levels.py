"""Changes of states that last: of deployments, of the cluster, and of the leadership."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from autoscaler.core.decision import Decision, Plan
from autoscaler.core.explanation import shortfall_text, unmanaged_text
from autoscaler.core.shortfall import ShortfallCause
from autoscaler.core.units import duration_text
from autoscaler.core.values import Observation
from autoscaler.ports import FailureKind, Leadership, ObservationFailed
from autoscaler.wire.history import Event, EventKind, Note

MAX_EVENTS = 20
"""Deployments of one cycle that have an event of their own about a change to the same state. One
more event has the number of the others. 20, because a damaged response, or a changed rule, concerns
thousands, whose events would displace all others."""

MAX_EVENTS_IN_AN_HOUR = 200
"""The same for one hour. A process that crashes and restarts is a change in each cycle, and so is a
response that is damaged in another place each time."""

_HOUR_S = 3_600.0

_State = tuple[EventKind, str]  # of a deployment, and its rule, or why there is none
_Change = tuple[EventKind, str, str]  # the kind, the deployment, and the message


class DeploymentLevels:
    """What is new about deployments apart from their decisions: whether they are managed and
    reported, and whether all requested allocations run."""

    def __init__(self) -> None:
        self._states: dict[str, _State] | None = None  # None: none observed yet
        self._missing_since: dict[str, float] = {}
        self._hour_began_at = -math.inf
        self._in_this_hour: Counter[EventKind] = Counter()
        self._left_out: Counter[EventKind] = Counter()

    def changes(self, observation: Observation, plan: Plan) -> Iterator[Event]:
        """The events of one cycle."""
        before, self._states = self._states, _states(observation, plan)
        changes = list(self._shortfalls(plan.decisions))
        if before is not None:
            changes += _state_changes(before, self._states, observation.unreadable)
        yield from self._limited(plan.at, changes)

    def _shortfalls(self, decisions: Iterable[Decision]) -> Iterator[_Change]:
        before, self._missing_since = self._missing_since, {}
        for decision in decisions:
            name, shortfall = decision.deployment_id, decision.shortfall
            since = before.get(name)
            if shortfall is not None and shortfall.cause is not ShortfallCause.STARTING:
                self._missing_since[name] = shortfall.since
                if since is None:
                    yield "allocations_missing", name, shortfall_text(decision)
            elif since is not None and (shortfall is not None or decision.running is None):
                self._missing_since[name] = since
            elif since is not None:
                lasted = duration_text(decision.at - since)
                message = f"{name}: all {decision.running} allocations run again, after {lasted}"
                yield "allocations_running", name, message

    def _limited(self, at: float, changes: Iterable[_Change]) -> Iterator[Event]:
        """The events, of which some of each kind are counted only."""
        if at - self._hour_began_at >= _HOUR_S:
            self._hour_began_at = at
            self._in_this_hour.clear()
        in_this_cycle: Counter[EventKind] = Counter()
        for kind, name, message in changes:
            in_this_cycle[kind] += 1
            if in_this_cycle[kind] <= MAX_EVENTS and self._has_room(kind):
                yield Event(at, name, kind, Note(message))
            else:
                self._left_out[kind] += 1
        for kind, count in list(self._left_out.items()):
            if self._has_room(kind):
                del self._left_out[kind]
                what = kind.replace("_", " ")
                message = f"{what}: the same applies to {count} further deployments"
                yield Event(at, "", "others", Note(message))

    def _has_room(self, kind: EventKind) -> bool:
        """Take the room of one event in this hour, if there is some."""
        if self._in_this_hour[kind] >= MAX_EVENTS_IN_AN_HOUR:
            return False
        self._in_this_hour[kind] += 1
        return True


def _states(observation: Observation, plan: Plan) -> dict[str, _State]:
    states: dict[str, _State] = {
        each.deployment_id: ("managed", each.rule) for each in plan.decisions
    }
    for name, reason in plan.unmanaged.items():
        states[name] = "unmanaged", unmanaged_text(reason)
    for name in observation.unreadable:
        states[name] = "unreadable", ""
    return states


def _state_changes(
    before: Mapping[str, _State], after: Mapping[str, _State], unreadable: Mapping[str, str]
) -> Iterator[_Change]:
    for name, (kind, detail) in after.items():
        if before.get(name) == (kind, detail):
            continue
        if kind == "managed":
            yield kind, name, f"{name} is managed by the rule {detail}"
        elif kind == "unmanaged":
            yield kind, name, f"{name} is {detail}"
        else:
            yield kind, name, f"{name}: the statistics are invalid: {unreadable[name]}"
    for name in before.keys() - after.keys():
        yield "vanished", name, f"{name} is no longer reported by the cluster"


class ClusterLevels:
    """What is new about the cluster as a whole, and about who leads."""

    def __init__(self, leadership: Leadership | None) -> None:
        self._leadership = leadership
        self._failure: tuple[FailureKind, str] | None = None
        self._failing_since = 0.0
        self._led: tuple[bool, str] | None = None  # whether this instance led, and who did

    def observed(self, at: float) -> Iterator[Event]:
        """The events of a cycle with an observation."""
        if self._failure is not None:
            lasted = duration_text(at - self._failing_since)
            message = f"cluster: statistics are available again after {lasted}"
            yield Event(at, "", "observation_recovered", Note(message))
        self._failure = None
        yield from self._leads(at)

    def failed(self, failure: ObservationFailed, at: float) -> Iterator[Event]:
        """The events of a cycle without one."""
        if self._failure is None:
            self._failing_since = at
        # Messages of one failure differ between cycles and hosts; those of defects identify them.
        found = failure.kind, str(failure) if failure.kind is FailureKind.DEFECT else ""
        if self._failure != found:
            yield Event(at, "", "observation_failed", Note(str(failure)))
        self._failure = found
        yield from self._leads(at)

    def _leads(self, at: float) -> Iterator[Event]:
        leadership = self._leadership
        if leadership is None:
            return
        since = leadership.leading_since
        # It leads when it has taken the state; until then, the instant is infinite.
        leads = since is not None and math.isfinite(since)
        led, self._led = self._led, (leads, leadership.leader)
        if led == self._led:
            return
        name = leadership.name
        if leads:
            message = f"this instance, {name}, leads"
        else:
            leader = leadership.leader
            other = f"{leader} leads" if leader else "no leader is known"
            message = f"this instance, {name}, does not lead; {other}"
        yield Event(at, "", "leadership", Note(message))
