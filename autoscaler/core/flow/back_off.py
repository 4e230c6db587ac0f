"""Back-offs: for how long nothing is sent after a refusal, and what ends the wait early.

The wait grows with each refusal in a row, of any kind. A visible change of the circumstances
ends it: the state of the deployment, its setting, or more capacity. Each early attempt that is
refused as well makes the next one wait for longer, so that circumstances that keep changing do not
lead to an attempt at every poll. Nothing ends a wait that the refusal itself states.
"""

from msgspec.structs import replace

from autoscaler.core.decision import Outcome, OutcomeKind, Setting
from autoscaler.core.state import BackOff, Circumstances, ClusterCapacity

BACK_OFF: dict[OutcomeKind, tuple[float, float]] = {
    OutcomeKind.UNKNOWN: (10.0, 300.0),
    OutcomeKind.NOT_STARTED: (5.0, 300.0),
    OutcomeKind.GONE: (10.0, 3600.0),
    OutcomeKind.NO_CAPACITY: (60.0, 3600.0),
    OutcomeKind.ADAPTIVE_ENABLED: (60.0, 3600.0),
    OutcomeKind.UNSUPPORTED: (3600.0, 3600.0),
    OutcomeKind.IN_USE: (3600.0, 3600.0),
    OutcomeKind.ENDPOINT_OWNED: (3600.0, 3600.0),
    OutcomeKind.BLOCKED: (60.0, 3600.0),
    OutcomeKind.FORBIDDEN: (900.0, 900.0),
    OutcomeKind.UNRECOGNISED: (60.0, 3600.0),
    OutcomeKind.INVALID: (60.0, 3600.0),
    OutcomeKind.NO_EFFECT: (60.0, 3600.0),
}
"""Seconds to wait after the first refusal, and the maximum; each further one doubles the wait.

UNKNOWN and GONE wait for the next observation, which shows whether the update was applied, and
whether the deployment exists; NOT_STARTED does not wait longer than that, because a deployment that
starts is ready soon. After FORBIDDEN, an operator has to change the privilege or the licence; the
wait does not grow, because it is one for all deployments and nothing shows that it can end.
NO_CAPACITY: where the search for fewer allocations does not apply.
"""

FIRST_EARLY_S = 15.0
"""Seconds between a refusal and the second early attempt; each further one waits twice as long."""

MAX_EARLY_S = 300.0
"""Maximum seconds between a refusal and an early attempt. 5 min: recovery stays prompt, and twelve
calls an hour do no harm."""


RETRY_AFTER = "retry_after"
"""The reason of a back-off that lasts as long as the refusal states."""

MAX_RETRY_AFTER_S = 3600.0
"""Maximum seconds that a refusal can state. 1 h, as the longest other back-off: a wrong clock or a
careless proxy must not stop the scaling for days."""


def after_outcome(before: BackOff | None, outcome: Outcome) -> BackOff:
    """The back-off after another refusal, which may state how long it lasts at least."""
    own = lengthened(before, outcome.kind, outcome.at)
    stated = as_stated(own, outcome)
    return own if stated is None or stated.until < own.until else stated


def as_stated(before: BackOff | None, outcome: Outcome) -> BackOff | None:
    """The back-off that a refusal states, and nothing more; what was there if it states none."""
    if outcome.retry_after_s <= 0.0:
        return before
    return BackOff(
        times=0 if before is None else before.times,
        until=outcome.at + min(outcome.retry_after_s, MAX_RETRY_AFTER_S),
        reason=RETRY_AFTER,
    )


def lengthened(before: BackOff | None, kind: OutcomeKind, at: float) -> BackOff:
    """The back-off after another refusal; of which kind those before were makes no difference."""
    times = 1 if before is None else before.times + 1
    first_s, most_s = BACK_OFF.get(kind, BACK_OFF[OutcomeKind.INVALID])
    return BackOff(
        times=times, until=at + min(first_s * 2.0 ** min(times - 1, 30), most_s), reason=kind
    )


def early_wait_s(early: int) -> float:
    """Seconds that lie at least between a refusal and an early attempt.

    Args:
        early: early attempts in a row that were refused.
    """
    return 0.0 if early == 0 else min(FIRST_EARLY_S * 2.0 ** min(early - 1, 30), MAX_EARLY_S)


def shortened(
    back_off: BackOff,
    then: Circumstances,
    *,
    state: str,
    setting: Setting | None,
    capacity: ClusterCapacity,
    at: float,
) -> tuple[BackOff, Circumstances]:
    """The back-off that ends now if the circumstances are not those of the refusal any more."""
    changed = (state, setting) != (then.state, then.setting) or (
        back_off.reason == OutcomeKind.NO_CAPACITY and capacity.exceeds(then.capacity)
    )
    if back_off.reason == RETRY_AFTER:
        return back_off, then
    if at >= back_off.until or not changed or at - then.at < early_wait_s(then.early):
        return back_off, then
    return replace(back_off, until=at), replace(then, early=then.early + 1)
