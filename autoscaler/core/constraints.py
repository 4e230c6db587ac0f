"""What we may ask for: rules that take a proposed number and return a Step.

The order is written once, in `RULES`. Bounds come after everything that shapes the number: they
are the operator's word. After them come the reasons to leave things as they are, which only ever
lead back towards the present number, never past a bound.
"""

import math
from collections.abc import Callable, Mapping

from autoscaler.core.capacity import Room, most_allocations
from autoscaler.core.values import (
    STARTED,
    DeploymentStats,
    Flaw,
    Reason,
    Sample,
    Schedule,
    Step,
    Value,
)


class Context(Value, frozen=True, kw_only=True):
    """What a rule may look at besides the proposed number."""

    at: float
    current: int
    stats: DeploymentStats
    sample: Sample
    highest: int  # recommended within the stabilisation window
    minimum: int
    maximum: int
    stabilisation_window_s: float
    growth_factor: float
    shrink_factor: float
    burst_maximum: int | None
    beyond_burst_s: float | None  # how long more than that has been wanted; None: it is not
    schedules: tuple[Schedule, ...]  # those that are open now
    unsettled_s: float | None  # how long nodes have been loading or live allocations too few
    room: Room
    infeasible: int | None  # the least number that was refused for lack of capacity
    maintenance: str  # what goes on in the cluster; empty: nothing
    back_off_s: float  # still to wait after a refusal
    back_off_because: str
    idle_s: float = 0.0  # without a request
    zero_after_s: float | None = None  # idle, from which on nothing is enough; None: never
    zero_unsafe: str = ""  # why nothing is never enough here; empty: it may be
    bounds_moved_s: float | None = None  # since bounds were moved; None: they are not the lever
    usual_soon: bool = False  # whether it is about to be used, as on past days
    at_zero: bool = False  # whether the cluster's own scaler has been allowed nothing already


Constraint = Callable[[int, Context], Step | None]
"""Returns None where the rule has nothing to say about the number."""

SETTLING_LIMIT_S = 600.0
"""What has not come within this time will not come soon; waiting for it no longer holds a number.

On hardware that may grow, an unsatisfied number is one that is going to be paid for.
"""

BURST_S = 60.0
"""How long more than `burst_maximum` must have been wanted before it is granted.

As long as the load is measured over as shipped: what has not lasted longer may be one bad count.
"""


BOUNDS_PAUSE_S = 60.0
"""Between two steps down of the bounds of the cluster's own scaler, or up and down."""


def stabilise(proposed: int, context: Context) -> Step | None:
    """Scale down only to the highest recommendation of the stabilisation window."""
    if proposed >= context.current:
        return None
    after = min(max(proposed, context.highest), context.current)
    because = {"window_s": context.stabilisation_window_s, "highest": context.highest}
    return Step(Reason.STABILISATION, proposed, after, because) if after != proposed else None


def limit_step(proposed: int, context: Context) -> Step | None:
    """Multiply or divide by no more than the step limits at once.

    The largest step is rounded away from the present number, so that 1 can become 2 and 2 can
    become 1 whatever the factor.
    """
    current = context.current
    if proposed == current:
        return None
    if proposed > current:
        furthest = max(math.ceil(max(current, 1) * context.growth_factor), current + 1)
        after = min(proposed, furthest)
    else:
        furthest = min(math.floor(current / context.shrink_factor), current - 1)
        after = max(proposed, furthest)
    if after == proposed:
        return None
    return Step(Reason.STEP_LIMIT, proposed, after, {"furthest": furthest})


def curb_burst(proposed: int, context: Context) -> Step | None:
    """Beyond the burst ceiling only what has been wanted for a while."""
    ceiling, wanted_s = context.burst_maximum, context.beyond_burst_s or 0.0
    if ceiling is None or proposed <= ceiling or proposed <= context.current:
        return None
    if wanted_s >= BURST_S:
        return None
    because = {"burst_max": ceiling, "hold_s": BURST_S, "wanted_s": wanted_s}
    return Step(Reason.BURST, proposed, max(ceiling, context.current), because)


def follow_schedules(proposed: int, context: Context) -> Step | None:
    """The strictest bounds of all schedules that are open. If they cross, the ceiling wins."""
    if not context.schedules:
        return None
    after, because = proposed, dict[str, float | str]()
    for schedule in context.schedules:
        if schedule.minimum is not None and after < schedule.minimum:
            after, because = schedule.minimum, {"schedule": schedule.name, "min": schedule.minimum}
    for schedule in context.schedules:
        if schedule.maximum is not None and after > schedule.maximum:
            after, because = schedule.maximum, {"schedule": schedule.name, "max": schedule.maximum}
    return Step(Reason.SCHEDULE, proposed, after, because) if because else None


def keep_bounds(proposed: int, context: Context) -> Step | None:
    """The operator's word: at least `minimum`, at most `maximum`."""
    if context.minimum <= proposed <= context.maximum:
        return None
    after = min(max(proposed, context.minimum), context.maximum)
    because = {"min": context.minimum, "max": context.maximum}
    return Step(Reason.BOUNDS, proposed, after, because)


def go_to_zero(proposed: int, context: Context) -> Step | None:
    """Nothing, when nobody has asked for long enough and nobody is expected to."""
    after_s = context.zero_after_s
    if after_s is None or context.usual_soon:
        return None
    sample = context.sample
    # To have lost sight of one that sleeps is no reason to wake it.
    sleeps = context.at_zero and sample.arrivals == 0 and sample.pending == 0
    if context.idle_s < after_s and not sleeps:
        return None
    if any(schedule.minimum is not None for schedule in context.schedules):
        return None
    because: dict[str, float | str] = {"idle_s": context.idle_s}
    if context.idle_s < after_s:
        because["sleeps"] = "yes"
    if context.zero_unsafe:
        return Step(Reason.IDLE, proposed, proposed, because | {"unsafe": context.zero_unsafe})
    return Step(Reason.IDLE, proposed, 0, because)


def distrust(proposed: int, context: Context) -> Step | None:
    """Never down on statistics that are missing, partial or damaged."""
    flaws = context.sample.flaws
    if proposed >= context.current or not flaws:
        return None
    return Step(Reason.UNTRUSTED, proposed, context.current, {"flaws": words(flaws)})


def relieve(proposed: int, context: Context) -> Step | None:
    """Never down while callers give up: what they asked for is not measured well then."""
    if proposed >= context.current or not context.sample.overloaded:
        return None
    return Step(Reason.OVERLOAD, proposed, context.current, {"timeouts": context.sample.timeouts})


def settle(proposed: int, context: Context) -> Step | None:
    """Leave alone what is still changing.

    A deployment that is starting or stopping accepts no update. While a node loads the model, its
    share of the load is not known, and what looks like too much may be just enough.
    """
    stats, current = context.stats, context.current
    if proposed == current:
        return None
    if stats.state != STARTED:
        return Step(Reason.SETTLING, proposed, current, {"state": stats.state or "unknown"})
    unsettled_s = context.unsettled_s
    if proposed > current or unsettled_s is None or unsettled_s > SETTLING_LIMIT_S:
        return None
    because = {"live": stats.live_allocations or 0, "target": current}
    return Step(Reason.SETTLING, proposed, current, because)


def fit(proposed: int, context: Context) -> Step | None:
    """Up to what fits on the nodes as they are seen, if they are certain to be all there is."""
    if proposed <= context.current:
        return None
    most = most_allocations(context.stats, context.room)
    if most is None or proposed <= most:
        return None
    after = max(most, context.current, context.minimum)
    return Step(Reason.FIT, proposed, after, {"fits": most}) if after < proposed else None


def pace(proposed: int, context: Context) -> Step | None:
    """Bounds come down once in a while: each move is an update of the whole cluster's state, and a
    floor that is high a little longer costs nothing that its scaler would not have used."""
    moved_s = context.bounds_moved_s
    if proposed >= context.current or moved_s is None or moved_s >= BOUNDS_PAUSE_S:
        return None
    because = {"moved_s": moved_s, "pause_s": BOUNDS_PAUSE_S}
    return Step(Reason.PACE, proposed, context.current, because)


def stay_feasible(proposed: int, context: Context) -> Step | None:
    """Below a number that was refused, approach the largest one that fits by halves.

    A refusal changes nothing and tells only that the number was too large.
    """
    infeasible, current = context.infeasible, context.current
    # As a minimum of the cluster's own scaler a number may be in force and yet not granted.
    requested = context.stats.allocations
    granted = current if requested is None else min(current, requested)
    if infeasible is None or proposed < infeasible or proposed <= granted:
        return None
    after = granted + max(0, infeasible - granted) // 2
    if after < context.minimum:
        after = current
    if after == proposed:
        return None
    return Step(Reason.CAPACITY, proposed, after, {"infeasible": infeasible})


def respect_maintenance(proposed: int, context: Context) -> Step | None:
    """A cluster that is being upgraded is left as it is."""
    if proposed == context.current or not context.maintenance:
        return None
    return Step(Reason.MAINTENANCE, proposed, context.current, {"because": context.maintenance})


def back_off(proposed: int, context: Context) -> Step | None:
    """Wait after a refusal that trying again would not change."""
    if proposed == context.current or context.back_off_s <= 0.0:
        return None
    because: Mapping[str, float | str] = {
        "wait_s": context.back_off_s,
        "because": context.back_off_because,
    }
    return Step(Reason.BACK_OFF, proposed, context.current, because)


RULES: tuple[Constraint, ...] = (
    stabilise,  # first, so that it sees what the policy wants and not what limits make of it
    limit_step,
    curb_burst,
    follow_schedules,
    keep_bounds,  # the operator's word: nothing below may leave them, ...
    go_to_zero,  # ... but for this, which is the operator's word as well
    distrust,
    relieve,
    settle,
    fit,
    pace,
    stay_feasible,
    respect_maintenance,
    back_off,
)


def constrain(first: Step, context: Context) -> tuple[Step, ...]:
    """Apply `RULES` to what `first` recommends; return the whole trail."""
    steps = [first]
    number = first.after
    for rule in RULES:
        step = rule(number, context)
        if step is not None:
            steps.append(step)
            number = step.after
    return tuple(steps)


def words(flaws: tuple[Flaw, ...]) -> str:
    return ", ".join(dict.fromkeys(flaws))  # several nodes may have the same
