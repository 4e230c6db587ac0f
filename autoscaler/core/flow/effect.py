"""Whether the cluster shows what was requested of it.

An accepted update changes what the next observation reports. If later observations still report the
setting before it, the update is without effect. If they report a setting that was never requested,
another writer has changed the deployment: an external change, which is respected for a while.

Not external changes: updates whose response was lost, what adaptive allocations choose within their
bounds, allocations that the cluster cannot place, a deployment that was created again, and any
difference from the time before the daemon started.
"""

from msgspec.structs import replace

from autoscaler.core.decision import (
    SECOND_WRITER_TIMES,
    Change,
    ExternalChange,
    Mode,
    NoEffect,
    OutcomeKind,
    SetAllocations,
    SetBounds,
    Setting,
)
from autoscaler.core.flow.back_off import RETRY_AFTER, lengthened
from autoscaler.core.selection import Rule
from autoscaler.core.state import BackOff, DeploymentState, Request
from autoscaler.core.values import DataIssue, DeploymentStats, Value

EFFECT_PATIENCE_S = 30.0
"""Seconds after which an accepted change must be visible. 30 s: the reported number changes with
the response, but the next polls may reach a node whose cluster state is outdated."""

LOST_UPDATE_S = 300.0
"""Seconds for which an update without a response may still take effect. 5 min, the longest time-out
of a request."""

MAX_EARLIER = 4
"""Maximum number of the daemon's earlier settings that do not count as another writer's."""

MAX_HOLD_S = 3600.0
"""Maximum seconds for which a second writer's change is respected, unless the rule says more. 1 h:
two daemons then change the deployment every two hours."""

MIN_SECOND_WRITER_HOLD_S = 60.0
"""Seconds for which a second writer's change is respected at first where single changes are
overridden at once. 1 min, because the cluster plans again for each update of the two writers."""

IN_A_ROW_S = 7200.0
"""Seconds after the end of a hold within which another external change is the next one in a row.
2 h, so that a second writer that respects the daemon's changes for an hour is recognised."""

COUNT_UNRELIABLE = frozenset(
    {
        DataIssue.NOT_STARTED,
        DataIssue.NOT_REPORTED,
        DataIssue.CLOCK,
        DataIssue.INCONSISTENT,
        DataIssue.COUNTER_DECREASED,
        DataIssue.IMPLAUSIBLE,
    }
)
"""Data-quality issues that make the reported allocation count itself unreliable. No limit applies
then, not even the bounds, and nothing is changed."""

STOPPED = Setting(0)
"""The setting of a deployment that does not exist."""


class Tracked(Value, frozen=True, kw_only=True):
    """What an observation shows of the updates before it."""

    setting: Setting | None
    request: Request | None
    back_off: BackOff | None
    external_change: ExternalChange | None  # as long as it counts
    is_new: bool = False  # whether this observation is the first to show it
    no_effect: NoEffect | None = None


def setting_of(stats: DeploymentStats) -> Setting | None:
    """The setting that the statistics report; None if they report none."""
    adaptive = stats.adaptive
    if adaptive is not None and adaptive.enabled:
        return Setting(None, adaptive.minimum or 0, adaptive.maximum or 0)
    return None if stats.allocations is None else Setting(stats.allocations)


def requested_setting(change: Change) -> Setting:
    """The setting that a change leads to."""
    match change:
        case SetAllocations(allocations=allocations):
            return Setting(allocations)
        case SetBounds(minimum=minimum, maximum=maximum):
            return Setting(None, minimum, maximum)
    return STOPPED


def requested(known: DeploymentState, change: Change, at: float, *, accepted: bool) -> Request:
    """The request of a change that has just been sent."""
    setting, before = requested_setting(change), known.request
    earlier = () if before is None else (*before.earlier, before.setting)
    if known.setting is not None:
        earlier = (*earlier, known.setting)
    others = dict.fromkeys([each for each in earlier if each != setting])
    return Request(setting=setting, at=at, accepted=accepted, earlier=tuple(others)[-MAX_EARLIER:])


def track(
    known: DeploymentState, stats: DeploymentStats, rule: Rule, at: float, *, reliable: bool
) -> Tracked:
    """Compare the reported setting with the last requested or observed setting.

    Args:
        reliable: whether no data-quality issue makes the reported counts unreliable.
    """
    external = _counting(known.external_change, rule, at)
    seen = setting_of(stats)
    if not rule.sends:
        return Tracked(
            setting=None,
            request=_late(known.request, at),
            back_off=known.back_off,
            external_change=None,
        )
    if seen is None or not reliable:
        return Tracked(
            setting=known.setting,
            request=known.request,
            back_off=known.back_off,
            external_change=external,
        )
    request, back_off, expected = known.request, known.back_off, known.setting
    no_effect = None
    if request is not None:
        waited_s = at - request.at
        if seen == request.setting:
            expected = seen
            back_off = _after_effect(back_off)
            visible = replace(request, shown=True, visible=True)
            request = visible if waited_s < EFFECT_PATIENCE_S else None
        elif seen in request.earlier:
            patience_s = EFFECT_PATIENCE_S if request.accepted else LOST_UPDATE_S
            if waited_s < patience_s:
                expected, request = seen, replace(request, visible=False)
            elif request.shown:
                expected, request = request.setting, None  # it was put back
            else:
                if request.accepted:
                    back_off = lengthened(back_off, OutcomeKind.NO_EFFECT, at)
                    no_effect = _no_effect(stats, request, seen, back_off, at)
                # It may still take effect later.
                late = replace(request, accepted=False, at=at)
                expected, request = seen, late if request.accepted else None
        else:
            expected = request.setting if request.accepted or request.shown else expected
            # Whatever another writer sets meanwhile, a lost stop may still take effect.
            is_lost = not request.accepted and waited_s < LOST_UPDATE_S
            request = request if is_lost and request.setting == STOPPED else None
    is_new = False
    # In another control mode, the deployment is not the daemon's to set.
    controlled = expected is not None and (expected.allocations is None) is (
        rule.mode is Mode.BOUNDS
    )
    if expected is not None and controlled and seen != expected:
        external = _external_change(external, stats, expected, seen, rule, at)
        is_new = external.at == at
    return Tracked(
        setting=seen,
        request=request,
        back_off=back_off,
        external_change=external,
        is_new=is_new,
        no_effect=no_effect,
    )


_ENDED_BY_EFFECT = frozenset({OutcomeKind.NO_EFFECT, OutcomeKind.UNKNOWN, OutcomeKind.UNRECOGNISED})


def _after_effect(back_off: BackOff | None) -> BackOff | None:
    """The back-off after a change has become visible. A wait that a response states remains."""
    if back_off is None or back_off.reason in _ENDED_BY_EFFECT:
        return None
    return replace(back_off, times=0) if back_off.reason == RETRY_AFTER else back_off


def _late(request: Request | None, at: float) -> Request | None:
    """An update that may still take effect while nothing is sent. It is not waited for."""
    if request is None or at - request.at >= LOST_UPDATE_S:
        return None
    return replace(request, accepted=False)


def may_have_set(request: Request | None, seen: Setting) -> bool:
    """Whether the last update, or one before it that was lost, may have led to what is seen."""
    return request is not None and seen in (request.setting, *request.earlier)


def awaits_effect(request: Request | None) -> bool:
    """Whether an accepted change is not visible yet. Nothing is changed until it is, or until the
    patience has ended."""
    return request is not None and request.accepted and not request.visible


def external_start(stats: DeploymentStats, rule: Rule, at: float) -> ExternalChange | None:
    """The external change by which a stopped deployment runs again."""
    seen = setting_of(stats)
    if seen is None or not rule.sends:
        return None
    return _external_change(None, stats, STOPPED, seen, rule, at)


def hold_s(rule: Rule, times: int) -> float:
    """Seconds for which an external change is respected: those of the rule, and twice as many for
    each further change of a second writer.

    Args:
        times: external changes in a row.
    """
    further = max(0, times - SECOND_WRITER_TIMES + 1)
    base_s = rule.external_change_hold_s
    if further == 0:
        return base_s
    if base_s == 0.0:
        base_s, further = MIN_SECOND_WRITER_HOLD_S, further - 1
    return min(base_s * 2.0 ** min(further, 30), max(rule.external_change_hold_s, MAX_HOLD_S))


def _external_change(
    last: ExternalChange | None,
    stats: DeploymentStats,
    before: Setting,
    after: Setting,
    rule: Rule,
    at: float,
) -> ExternalChange:
    if last is not None and at < last.at + last.hold_s and after == last.before:
        return replace(last, hold_s=0.0)  # it was taken back
    times = 1 if last is None else last.times + 1
    # Another control mode is respected until it is reverted; see `external_control_step`.
    changes_mode = (before.allocations is None) is not (after.allocations is None)
    return ExternalChange(
        deployment_id=stats.deployment_id,
        at=at,
        before=before,
        after=after,
        times=times,
        hold_s=0.0 if changes_mode else hold_s(rule, times),
    )


def _counting(last: ExternalChange | None, rule: Rule, at: float) -> ExternalChange | None:
    """The last external change, if the next one would be in a row with it. A rule that respects
    changes for a shorter time now takes effect at once."""
    if last is None:
        return None
    held_s = min(last.hold_s, hold_s(rule, last.times))
    if at - last.at > held_s + max(IN_A_ROW_S, 2.0 * rule.external_change_hold_s):
        return None
    return last if held_s == last.hold_s else replace(last, hold_s=held_s)


def _no_effect(
    stats: DeploymentStats, request: Request, seen: Setting, back_off: BackOff, at: float
) -> NoEffect:
    return NoEffect(
        deployment_id=stats.deployment_id,
        requested=request.setting,
        shown=seen,
        accepted_at=request.at,
        at=at,
        times=back_off.times,
        wait_s=back_off.until - at,
    )
