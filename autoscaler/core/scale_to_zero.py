"""Scale to zero: when a deployment is idle, when 0 allocations are safe, which times of the week it
is usually used at, and when a stopped deployment is started again.

Usage is stored in slots of a quarter of an hour, in UTC, one bit each; a week has 672 slots.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

from msgspec.structs import replace

from autoscaler.core.decision import Decision, Start
from autoscaler.core.selection import Rule, ScaleToZero, ZeroMethod, bounds_of
from autoscaler.core.state import BackOff, StoppedDeployment
from autoscaler.core.values import (
    STOPPING,
    Cluster,
    DeploymentStats,
    Reason,
    Sample,
    Step,
    Value,
)

RESUME_LEAD_S = 120.0
"""Seconds before its usual use at which a deployment is resumed, or no longer stopped. 2 min,
because loading a model takes one or two."""

Version = tuple[int, int, int]

MIN_VERSION: Version = (8, 16, 0)
"""The first version whose adaptive allocations scale to zero, and up again at the first request
(elastic/elasticsearch#113455, #114719)."""


class ZeroDefect(Value, frozen=True):
    """A defect of Elasticsearch that loses deployments without allocations."""

    first: Version  # that has it
    fixed: Version  # the first that does not
    when: str  # it strikes
    issue: int  # of elastic/elasticsearch


ZERO_DEFECTS = (
    ZeroDefect((9, 1, 0), (9, 3, 0), "another deployment is started", 137134),
    ZeroDefect((8, 16, 0), (9, 3, 5), "a node shuts down", 146806),
)
"""What deletes deployments that adaptive allocations have scaled to zero, by version.

#137134 is fixed by #137244, which the release notes of 9.3.0 name first. #146806 is fixed by
#146910, which was merged into 9.3 and 9.4 only (#147306, #147304); the notes of 9.3.5 and of 9.4.0
name it, and those of 9.3.4, a week after the merge, do not. So 8.16 to 9.2 have it, all of 8.19
included.

Source: elastic/elasticsearch, docs/release-notes/changelog-bundles.
"""

RESUMES_BY_DEPLOYMENT_ID: Version = (9, 4, 5)
"""The first version in which a request by deployment id scales a deployment up from zero. Earlier
ones reject it, unless the id is that of the model (elastic/elasticsearch#146835, fixed by #153213,
which the release notes of 9.4.5 name)."""

SLOT_S = 900.0
"""Seconds of one slot of usage: a quarter of an hour."""

SLOTS_PER_DAY = 96
SLOTS_PER_WEEK = 7 * SLOTS_PER_DAY

UNUSED = bytes(SLOTS_PER_WEEK // 8)


def idle_since(before: float | None, sample: Sample) -> float:
    """Since when the deployment has been idle. A sample with uncertain counts counts as use."""
    quiet = sample.counts_certain and sample.arrivals == 0 and sample.in_flight == 0
    return before if quiet and before is not None else sample.at


def is_used_soon(usage: bytes, at: float) -> bool:
    """Whether the deployment is usually used at this time, or will be within `RESUME_LEAD_S`."""
    return is_usually_used(usage, at + RESUME_LEAD_S, known_until=at)


@lru_cache(maxsize=1)  # the cluster is the same object in most cycles
def version_of(cluster: Cluster | None) -> Version | None:
    """The version of the machine-learning nodes; None if it is unknown, or if they differ."""
    versions = {node.version for node in cluster.nodes} if cluster is not None else set()
    found = re.match(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})", versions.pop()) if versions else None
    return (int(found[1]), int(found[2]), int(found[3])) if found and not versions else None


def unsafe_reason(
    zero: ScaleToZero,
    stats: DeploymentStats,
    owner: str | None,
    version: Version | None,
    in_use: str = "",
) -> str:
    """Why 0 allocations are not safe for this deployment; empty if they are.

    Args:
        owner: the inference endpoint that owns it.
        in_use: why it must not be stopped.
    """
    if zero.via is ZeroMethod.STOP:
        return f"inference endpoint {owner} owns it" if owner is not None else in_use
    if version is None:
        return "the version of its nodes is unknown, and not every version resumes it"
    if version < MIN_VERSION:
        return "this version cannot resume it; 8.16 and later can"
    defects = [defect for defect in ZERO_DEFECTS if defect.first <= version < defect.fixed]
    if defects:
        when = " or when ".join(f"{each.when} (elasticsearch#{each.issue})" for each in defects)
        safe = ".".join(map(str, max(defect.fixed for defect in defects)))
        return (
            f"{'.'.join(map(str, version))} may delete it while it has no allocations, when "
            f"{when}; {safe} and later do not"
        )
    if version < RESUMES_BY_DEPLOYMENT_ID and stats.deployment_id != stats.model_id:
        return "its id is not its model's, so no request would resume it (elasticsearch#146835)"
    return ""


def updated_usage(usage: bytes, at: float, *, since: float, requests: bool) -> bytes:
    """The usage after an interval from `since` to `at`, in Unix seconds, with requests or without.

    Slots that began in the interval are set to unused first: their bits are a week old.
    """
    slot = int(at // SLOT_S)
    begun = range(max(int(since // SLOT_S) + 1, slot - SLOTS_PER_WEEK + 1), slot + 1)
    if not begun and (not requests or _is_used(usage, slot)):
        return usage
    slots = bytearray(usage or UNUSED)
    for each in begun:
        slots[each % SLOTS_PER_WEEK // 8] &= ~(1 << each % 8)
    if requests:
        slots[slot % SLOTS_PER_WEEK // 8] |= 1 << slot % 8
    return bytes(slots)


def is_usually_used(usage: bytes, at: float, *, known_until: float = 0.0) -> bool:
    """Whether there were requests at this time on two of the last three days, or a week ago.

    `at` may be up to a day after the last slot of `usage`.

    Args:
        known_until: the slot of this instant contains today's usage, and not that of a week ago.
    """
    if not usage:
        return False
    slot = int(at // SLOT_S)
    days = sum([_is_used(usage, slot - day * SLOTS_PER_DAY) for day in (1, 2, 3)])
    a_week_ago = slot != int(known_until // SLOT_S) and _is_used(usage, slot - SLOTS_PER_WEEK)
    return days >= 2 or a_week_ago


def _is_used(usage: bytes, slot: int) -> bool:
    return bool(usage and usage[slot % SLOTS_PER_WEEK // 8] >> slot % 8 & 1)


def start_change(stopped_deployment: StoppedDeployment, rule: Rule | None) -> Start:
    """The start of a stopped deployment, with its former parameters and the minimum of its rule and
    its open schedules, or with its former allocations if no rule governs it any more."""
    stats = stopped_deployment.stats
    allocations, adaptive = stats.allocations, stats.adaptive
    if rule is not None:
        allocations, maximum = bounds_of(rule)
        if adaptive is not None and adaptive.enabled:
            minimum = min(max(adaptive.minimum or 0, allocations), maximum)
            adaptive = replace(adaptive, minimum=minimum)
    return Start(
        model_id=stats.model_id,
        allocations=max(1, allocations or 1),
        threads_per_allocation=stats.threads_per_allocation,
        queue_capacity=stats.queue_capacity,
        cache_bytes=stats.cache_bytes,
        priority=stats.priority,
        adaptive=adaptive,
    )


def still_stopped(
    stopped: Mapping[str, StoppedDeployment], deployments: Mapping[str, DeploymentStats]
) -> dict[str, StoppedDeployment]:
    """The stopped deployments that are not running again."""
    return {
        name: stopped_deployment
        for name, stopped_deployment in stopped.items()
        if name not in deployments or deployments[name].state == STOPPING
    }


def decide_stopped(
    name: str,
    stopped_deployment: StoppedDeployment,
    rule: Rule | None,
    *,
    at: float,
    resume_requested: Collection[str],
    maintenance: str,
    forbidden: BackOff | None,
    settling: Mapping[str, float | str],
    paused: Step | None = None,
) -> Decision:
    """Whether a stopped deployment is resumed, and why.

    Args:
        rule: that governs it now, with the schedules that are open; None: none does.
        resume_requested: deployment ids.
        settling: why a start has to wait for the cluster, as inputs of a step; empty: it does not.
        paused: the step that holds it because an operator has paused increases.
    """
    start = start_change(stopped_deployment, rule)
    allocations = starting_allocations(start)
    steps = [Step(Reason.STOPPED, 0, 0, {"since_s": at - stopped_deployment.since})]
    reason = _resume_reason(name, stopped_deployment, rule, at, resume_requested)
    if reason:
        steps.append(Step(Reason.RESUME, 0, allocations, {"reason": reason}))
        hold = _hold(allocations, stopped_deployment, at, maintenance, forbidden, settling) or (
            None if paused is None else replace(paused, before=allocations)
        )
        if hold is not None:
            steps.append(hold)
    return Decision(
        deployment_id=name,
        model_id=stopped_deployment.stats.model_id,
        at=at,
        rule=rule.name if rule is not None else "",
        dry_run=rule is not None and rule.dry_run,
        current=0,
        min_allocations=rule.min_allocations if rule is not None else 0,
        max_allocations=rule.max_allocations if rule is not None else allocations,
        steps=tuple(steps),
        sample=Sample(at=at, interval_s=0.0),
        load=None,
        change=start if steps[-1].after > 0 else None,
        observe_only=None if rule is None else rule.observe_only,
        requested=0,
        running=0,
    )


def starting_allocations(start: Start) -> int:
    """The allocations that the deployment is started with."""
    if start.adaptive is not None and start.adaptive.enabled:
        return max(1, start.adaptive.minimum or 1)
    return start.allocations


def reduced_start(
    decision: Decision, allocations: int, inputs: Mapping[str, float | str]
) -> Decision:
    """The decision to start a deployment, with fewer allocations; with 0, it stays stopped."""
    start, before = decision.change, decision.desired
    assert isinstance(start, Start), "the decision is to start it"
    change: Start | None = None
    if allocations > 0:
        adaptive = start.adaptive
        if adaptive is not None and adaptive.enabled:
            adaptive = replace(adaptive, minimum=allocations)
        change = replace(start, allocations=min(allocations, start.allocations), adaptive=adaptive)
    minimum = decision.min_allocations
    below: Mapping[str, int] = {"min_allocations": minimum} if allocations < minimum else {}
    step = Step(Reason.FIT, before, allocations, {**inputs, **below})
    return replace(decision, steps=(*decision.steps, step), change=change)


def _resume_reason(
    name: str,
    stopped_deployment: StoppedDeployment,
    rule: Rule | None,
    at: float,
    resume_requested: Collection[str],
) -> str:
    """Why it is resumed; empty if it stays stopped."""
    if name in resume_requested:
        return "resume requested"
    if rule is None or rule.zero is None or rule.zero.via is not ZeroMethod.STOP:
        return "no rule scales it to zero any more"
    for schedule in rule.schedules:
        if schedule.min_allocations is not None:
            return f"schedule {schedule.name} is open"
    usage = updated_usage(
        stopped_deployment.usage, at, since=stopped_deployment.since, requests=False
    )
    return "it is usually used at this time" if is_used_soon(usage, at) else ""


def _hold(
    recommended: int,
    stopped_deployment: StoppedDeployment,
    at: float,
    maintenance: str,
    forbidden: BackOff | None,
    settling: Mapping[str, float | str],
) -> Step | None:
    """A step that holds the start; None if nothing prevents it."""
    if maintenance:
        return Step(Reason.MAINTENANCE, recommended, 0, {"reason": maintenance})
    if settling:
        return Step(Reason.SETTLING, recommended, 0, settling)
    for refused in (stopped_deployment.back_off, forbidden):
        if refused is not None and at < refused.until:
            reason: dict[str, float | str] = {
                "wait_s": refused.until - at,
                "reason": refused.reason,
            }
            return Step(Reason.BACK_OFF, recommended, 0, reason)
    return None
