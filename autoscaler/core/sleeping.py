"""Deployments that were stopped because they were idle: why each still sleeps, or is woken."""

from collections.abc import Collection, Mapping

from autoscaler.core.handing_back import wake_up
from autoscaler.core.idleness import is_usual_soon
from autoscaler.core.selection import Rule, Via
from autoscaler.core.state import Refused, Sleeper
from autoscaler.core.usage import used
from autoscaler.core.values import (
    Decision,
    DeploymentStats,
    Reason,
    Sample,
    Step,
)

STOPPING = "stopping"
"""The state of a deployment that is on its way out, and may be reported still."""


def still_asleep(
    asleep: Mapping[str, Sleeper], deployments: Mapping[str, DeploymentStats]
) -> dict[str, Sleeper]:
    """Those that nobody has started meanwhile."""
    return {
        name: sleeper
        for name, sleeper in asleep.items()
        if name not in deployments or deployments[name].state == STOPPING
    }


def decide_asleep(
    name: str,
    sleeper: Sleeper,
    rule: Rule | None,
    *,
    at: float,
    asked: Collection[str],
    maintenance: str,
    forbidden: Refused | None,
) -> Decision:
    """Whether to start it again, and why.

    Args:
        rule: that governs it now, with the schedules that are open; None: none does.
        asked: deployments that somebody wants to be started.
    """
    start = wake_up(sleeper, rule)
    steps = [Step(Reason.ASLEEP, 0, 0, {"since_s": at - sleeper.since})]
    because = _why_awake(name, sleeper, rule, at, asked)
    if because:
        steps.append(Step(Reason.WAKE, 0, start.allocations, {"because": because}))
        hold = _hold(start.allocations, sleeper, at, maintenance, forbidden)
        if hold is not None:
            steps.append(hold)
    return Decision(
        deployment_id=name,
        model_id=sleeper.stats.model_id,
        at=at,
        rule=rule.name if rule is not None else "",
        dry_run=rule is not None and rule.dry_run,
        current=0,
        minimum=rule.minimum if rule is not None else 0,
        maximum=rule.maximum if rule is not None else start.allocations,
        steps=tuple(steps),
        sample=Sample(at=at, interval_s=0.0),
        load=None,
        change=start if steps[-1].after > 0 else None,
    )


def _why_awake(
    name: str, sleeper: Sleeper, rule: Rule | None, at: float, asked: Collection[str]
) -> str:
    """Empty if it may sleep on."""
    if name in asked:
        return "somebody asked for it"
    if rule is None or rule.zero is None or rule.zero.via is not Via.STOP:
        return "no rule lets it sleep any more"
    for schedule in rule.schedules:
        if schedule.minimum is not None:
            return f"the schedule {schedule.name} is open"
    usage = used(sleeper.usage, at, since=sleeper.since, requests=False)
    return "it is usually used at this time" if is_usual_soon(usage, at) else ""


def _hold(
    wanted: int, sleeper: Sleeper, at: float, maintenance: str, forbidden: Refused | None
) -> Step | None:
    """A reason not to start it just now."""
    if maintenance:
        return Step(Reason.MAINTENANCE, wanted, 0, {"because": maintenance})
    for refused in (sleeper.refused, forbidden):
        if refused is not None and at < refused.until:
            because: dict[str, float | str] = {
                "wait_s": refused.until - at,
                "because": refused.because,
            }
            return Step(Reason.BACK_OFF, wanted, 0, because)
    return None
