"""What must hold of a group of processes: after each cycle, when a request is sent, and at any
moment. Each is a function that returns what is wrong, or an empty text."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from autoscaler.config import Config
from tests.chaos import invariants
from tests.chaos.invariants import _text
from tests.chaos.members import Member
from tests.chaos.trace import Cycle, Request

if TYPE_CHECKING:
    from tests.chaos.group import Group

STORM_S = 200.0
"""Seconds of twenty cycles, within which one deployment has at most as many calls as of one
daemon."""

LOCK_S = 60.0
"""Seconds after which one process runs, where the lock of a directory lets one of them run."""

OTHERS_S = 400.0
"""Seconds for which a change of another process may explain what one process sees."""


def _of_one_daemon(invariant: invariants.Invariant) -> Callable[["Group", Member, Cycle], str]:
    def check(group: "Group", member: Member, cycle: Cycle) -> str:
        return invariant(group.trace, cycle)

    check.__name__ = invariant.__name__
    return check


def satisfied_or_reported(group: "Group", member: Member, cycle: Cycle) -> str:
    """Every wanted change takes effect, or is reported, unless another process has led since."""
    since = cycle.at - OTHERS_S
    if any(
        each.action and each.at > since and each.daemon != cycle.daemon
        for each in group.trace.requests
    ):
        return ""
    return invariants.satisfied_or_reported(group.trace, cycle)


def acts_with_state(group: "Group", member: Member, cycle: Cycle) -> bool:
    """Whether it is the cycle of a leader with the state that all processes share."""
    observation, controller = cycle.observation, member.controller
    if not group.group_settings.shares_state or observation is None:
        return False
    if controller._loop.why_not_leading(observation.requested_at or observation.at):
        return False
    # Without the state it acts from what it has observed, and says so.
    store = controller._store
    return store is not None and store.is_open and not controller._state._found


def stopped_remembered(group: "Group", member: Member, cycle: Cycle) -> str:
    """A leader with the state knows each deployment that one of the group has stopped."""
    if not acts_with_state(group, member, cycle):
        return ""
    return invariants.stopped_remembered(group.trace, cycle)


def no_update_storm(group: "Group", member: Member, cycle: Cycle) -> str:
    """No deployment is changed again and again, whoever does it."""
    for name in {change.deployment_id for change in cycle.changes}:
        calls = [
            each
            for each in group.trace.requests
            if each.action and each.deployment_id == name and each.at > cycle.at - STORM_S
            if invariants.may_have_arrived(each)
        ]
        if len(calls) > invariants.MAX_CALLS:
            return f"{len(calls)} calls in {STORM_S:g} s: {invariants._texts(calls)}"
    return ""


def one_configuration(group: "Group", config: Config) -> str:
    """No configuration takes effect of which a part was written."""
    if any(config.rules == version.rules for version in group.versions):
        return ""
    return f"{len(config.rules)} rules are in effect that no file had as a whole"


def only_the_leader(group: "Group", request: Request) -> str:
    """A change is sent only by the process whose name is in the lease."""
    if not request.action:
        return ""
    member = group.member_of(request.daemon)
    if member is None or member.process.stands_still or not member.leads():
        return f"{request.daemon} does not lead: {_text(request)}"
    if not group.group_settings.lease:
        return ""
    holder = group.lease_holder()
    names = {each.process.name for each in group.members.values()} - {request.daemon}
    ttl_s = group.versions[0].lease.ttl_s
    if holder in names and group.now - group.tampered_at > ttl_s:
        return f"{holder} has the lease, and {request.daemon} sends {_text(request)}"
    return ""


def one_writer(group: "Group", request: Request) -> str:
    """No change is sent while one of another process may be under way."""
    if not request.action or not group.group_settings.lease:
        return ""
    timeout_s = group.group_settings.request_timeout_s
    for other in reversed(group.trace.requests):
        if other.at < request.at - timeout_s:
            return ""
        if not other.action or other.daemon == request.daemon:
            continue
        if other.returned_at is None or other.returned_at > request.at:
            return (
                f"{request.daemon} sends {_text(request)} while {other.daemon} waits for "
                f"{_text(other)}"
            )
    return ""


def one_leader(group: "Group") -> str:
    """At most one process may change the cluster."""
    names = [each.process.name for each in group.leaders]
    return f"{' and '.join(names)} lead" if len(names) > 1 else ""


def fail_over(group: "Group") -> str:
    """While a process could lead for long enough, one leads."""
    lease = group.versions[0].lease
    within_s = LOCK_S if lease is None else 2.5 * lease.ttl_s + 20.0
    able_since = min(group.able_since.values(), default=group.now)
    if group.now - max(able_since, group.quiet_since, group.led_at) < within_s:
        return ""
    return f"no process leads within {within_s:g} s"


CYCLE_INVARIANTS = (
    *map(
        _of_one_daemon,
        (
            invariants.no_defect,
            invariants.consistent,
            invariants.bounds,
            invariants.dry_run,
            invariants.room,
            invariants.no_blind_decrease,
            invariants.back_off,
            invariants.memory_bounded,
        ),
    ),
    satisfied_or_reported,
    stopped_remembered,
    no_update_storm,
)
ACCEPTED_INVARIANTS = (one_configuration,)
SENT_INVARIANTS = (only_the_leader, one_writer)
MOMENT_INVARIANTS = (one_leader, fail_over)
