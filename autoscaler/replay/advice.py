"""What to change in a rule, as far as a replay shows it."""

import math
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from autoscaler.core.selection import Rule
from autoscaler.core.units import percent_text
from autoscaler.replay.results import DeploymentReplay, HourResult, PolicyResult, ReplayResults
from autoscaler.replay.totals import hours_difference, meets

ORACLE = "oracle"
"""The policy that knows every request in advance."""

LEARN_MORE = (
    "record for longer, or fit the assumptions by `autoscaler calibrate` and compare them with the "
    "deployment; until then, use dry_run"
)
"""The advice without a verdict."""

AT_BOUND = 0.05
"""Allocations from a bound of the rule within which the mean of an hour is at that bound."""

IDLE_MINIMUM_LOAD = 0.5
"""Load of an hour, as a fraction of the minimum, up to which the minimum is higher than needed."""

MIN_SAVING = 0.03
"""Fraction of the allocation-hours below which a saving is not worth a change of the rule."""

MIN_IDLE_H = 2
"""Hours in a row without a request from which on scale to zero is proposed. Two: each return costs
the requests that find no allocation."""

TARGET_UTILISATION = 0.7
"""Load divided by allocations with which the allocations of an hour are estimated."""


def with_advice(results: ReplayResults, rules: Mapping[str, Rule]) -> ReplayResults:
    """The results with advice for each deployment.

    Args:
        rules: by name. A rule that is not there is advised of as far as the results show.
    """
    deployments = tuple(
        replace(each, advice=advice_for(each, rules.get(each.rule))) for each in results.deployments
    )
    return replace(results, deployments=deployments)


def advice_for(replayed: DeploymentReplay, rule: Rule | None) -> tuple[str, ...]:
    """A sentence for each change that the results suggest, the most important first."""
    if not replayed.has_verdict or not replayed.policies:
        return (LEARN_MORE,)
    return tuple(_advice(replayed, replayed.policies[0], rule))


def _advice(replayed: DeploymentReplay, result: PolicyResult, rule: Rule | None) -> Iterator[str]:
    ceiling = rule is not None and result.max_allocations >= rule.max_allocations
    if not meets(result, replayed.slo_target):
        yield _missed(replayed, result, rule, ceiling=ceiling)
    if (cheaper := _cheaper(replayed, result)) is not None:
        yield cheaper
    if rule is not None:
        yield from _lower_minimum(replayed, result, rule)
        yield from _scale_to_zero(replayed, rule)


def _missed(
    replayed: DeploymentReplay, result: PolicyResult, rule: Rule | None, *, ceiling: bool
) -> str:
    """What to do about an SLO that the rule does not meet."""
    late, allowed = percent_text(result.late_fraction.value), 1.0 - replayed.slo_target
    missed = f"{late} of the requests would be late, and the SLO allows {percent_text(allowed)}"
    oracle = next((each for each in replayed.policies if each.policy == ORACLE), None)
    if oracle is not None and oracle.late_fraction.low > allowed:
        return (
            f"{missed}; not even a scheduler that knows each request in advance meets it: allow a "
            "longer wait, a lower target, or more nodes and a higher max_allocations"
        )
    if ceiling and rule is not None:
        at = sum(hour.replayed_hours >= rule.max_allocations - AT_BOUND for hour in replayed.hours)
        during = f", where it was for {_hours(at)}" if at else ""
        return f"{missed}: raise max_allocations, which is {rule.max_allocations}{during}"
    when = _hour_of_day(replayed.hours)
    if when is not None:
        return (
            f"{missed}; most of them at {when:02d}:00 UTC: let a schedule with a higher "
            "min_allocations begin before that"
        )
    return f"{missed}, although max_allocations is not reached: raise min_allocations"


def _hour_of_day(hours: Sequence[HourResult]) -> int | None:
    """The hour of the day with more than half of the late requests, on two days at least."""
    late: dict[int, list[float]] = {}
    for hour in hours:
        if hour.replayed_late > 0.0:
            late.setdefault(int(hour.at // 3600) % 24, []).append(hour.replayed_late)
    total = sum(map(sum, late.values()))
    return next(
        (at for at, counts in late.items() if sum(counts) > total / 2 and len(counts) >= 2), None
    )


def _cheaper(replayed: DeploymentReplay, result: PolicyResult) -> str | None:
    """A way of scaling without this program that meets the SLO for fewer hours."""
    others = [
        each
        for each in replayed.policies[1:]
        if each.policy != ORACLE and meets(each, replayed.slo_target)
    ]
    best = min(others, key=lambda each: each.hours.value, default=None)
    if best is None or best.hours.high >= result.hours.low * (1.0 - MIN_SAVING):
        return None
    less = hours_difference(best, result).value / result.hours.value
    return (
        f"{best.title} would meet the SLO too, with {percent_text(-less)} fewer allocation-hours "
        "than the rule: prefer it, or compare settings by `autoscaler backtest --sweep` on the "
        "calibrated scenario"
    )


def _lower_minimum(replayed: DeploymentReplay, result: PolicyResult, rule: Rule) -> Iterator[str]:
    minimum = rule.min_allocations
    idle = [
        hour
        for hour in replayed.hours
        if hour.peak_load is not None
        and hour.replayed_hours <= minimum + AT_BOUND
        and hour.peak_load <= IDLE_MINIMUM_LOAD * minimum
    ]
    if minimum <= 1 or not idle:
        return
    needed = [max(1, math.ceil((hour.peak_load or 0.0) / TARGET_UTILISATION)) for hour in idle]
    saved = sum(max(0.0, hour.replayed_hours - n) for hour, n in zip(idle, needed, strict=True))
    if saved < MIN_SAVING * result.hours.value:
        return
    highest = max(hour.peak_load or 0.0 for hour in idle)
    yield (
        f"lower min_allocations from {minimum} to {min(needed)}: for {_hours(len(idle))} only the "
        f"minimum kept the allocations, at a load of at most {highest:.2g} erlangs; that saves "
        f"about {saved:,.0f} allocation-hours of this record"
    )


def _scale_to_zero(replayed: DeploymentReplay, rule: Rule) -> Iterator[str]:
    runs, run = [], [0.0, 0.0]  # of hours without a request: their number and allocation-hours
    for hour in replayed.hours:
        if hour.requests == 0:
            run = [run[0] + 1.0, run[1] + hour.replayed_hours]
            continue
        runs.append(run)
        run = [0.0, 0.0]
    idle = [each for each in (*runs, run) if each[0] >= MIN_IDLE_H]
    saved = sum(hours - hours / count for count, hours in idle)  # its first hour is waited for
    if rule.zero is None and saved >= 1.0:
        longest = max(count for count, _ in idle)
        yield (
            f"set scale_to_zero, if the first request may wait for the model: there was none for "
            f"up to {_hours(int(longest))} at a time, and that saves about {saved:,.0f} "
            "allocation-hours of this record"
        )


def _hours(count: int) -> str:
    return "an hour" if count == 1 else f"{count:,} hours"
