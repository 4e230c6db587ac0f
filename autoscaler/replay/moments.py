"""The hours in which the operator's rule would have made the most difference."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from autoscaler.replay.results import DeploymentReplay, HourResult, Moment, ReplayResults

MAX_MOMENTS = 5
"""Moments of one deployment, and of a report. 5: as many as a reader remembers."""

APART_S = 3 * 3600.0
"""Seconds between two moments of one deployment, at least. Three hours: the hours beside a moment
show the same event."""

NEGLIGIBLE = 0.05
"""Importance of a moment, as a fraction of the most important one, below which it is left out."""

MIN_LATE = 1.0
"""Late requests by which an hour must differ, unless its allocation-hours do."""

MIN_HOURS = 0.25
"""Allocation-hours by which an hour must differ, unless its late requests do."""

HOUR_S = 3600.0


def with_moments(results: ReplayResults) -> ReplayResults:
    """The results with the moments of each deployment."""
    deployments = tuple(
        replace(each, moments=moments_of(each) if each.has_verdict else ())
        for each in results.deployments
    )
    return replace(results, deployments=deployments)


def moments_of(replayed: DeploymentReplay) -> tuple[Moment, ...]:
    """The moments of one deployment, the one that mattered most first; at most `MAX_MOMENTS`."""
    importance = _importance([replayed])
    found: list[Moment] = []
    candidates = sorted(_moments(replayed), key=importance, reverse=True)
    for each in _without_negligible(candidates, importance):
        if all(abs(each.at - other.at) >= APART_S for other in found):
            found.append(each)
        if len(found) == MAX_MOMENTS:
            break
    return tuple(found)


def top_moments(results: ReplayResults) -> tuple[Moment, ...]:
    """The moments of all deployments that mattered most; at most `MAX_MOMENTS`."""
    judged = [each for each in results.deployments if each.has_verdict]
    importance = _importance(judged)
    every = [moment for each in judged for moment in each.moments]
    every = _without_negligible(sorted(every, key=importance, reverse=True), importance)
    # Five similar hours of one deployment would hide all others.
    most = max(2, math.ceil(MAX_MOMENTS / max(1, sum(bool(each.moments) for each in judged))))
    taken: Counter[str] = Counter()
    first: list[Moment] = []
    others: list[Moment] = []
    for moment in every:
        taken[moment.deployment] += 1
        (first if taken[moment.deployment] <= most else others).append(moment)
    return tuple((first + others)[:MAX_MOMENTS])


def _importance(replays: Iterable[DeploymentReplay]) -> Callable[[Moment], float]:
    """How much a moment matters among these deployments: the fraction of their error budget that it
    saves or spends, plus the fraction of their allocation-hours."""
    listed = list(replays)
    budget = max(1.0, sum(each.requests * (1.0 - each.slo_target) for each in listed))
    hours = max(1.0, sum(each.observed.hours.value for each in listed))

    def importance(moment: Moment) -> float:
        return abs(moment.late_difference) / budget + abs(moment.hours_difference) / hours

    return importance


def _without_negligible(
    moments: list[Moment], importance: Callable[[Moment], float]
) -> list[Moment]:
    """Of moments in order, the most important one first."""
    return [each for each in moments if importance(each) >= NEGLIGIBLE * importance(moments[0])]


def day_around(hours: Sequence[HourResult], at: float) -> tuple[HourResult, ...]:
    """The twelve hours before and after an instant."""
    return tuple(each for each in hours if at - 12 * HOUR_S <= each.at < at + 13 * HOUR_S)


def _moments(replayed: DeploymentReplay) -> Iterator[Moment]:
    for hour in replayed.hours:
        late = hour.replayed_late - hour.recorded_late
        hours = hour.replayed_hours - hour.recorded_hours
        if abs(late) >= MIN_LATE or abs(hours) >= MIN_HOURS:
            yield Moment(
                at=hour.at,
                deployment=replayed.deployment,
                sentence=_sentence(hour),
                late_difference=late,
                hours_difference=hours,
            )


def _sentence(hour: HourResult) -> str:
    """
    >>> hour = HourResult(at=1_762_160_400.0, requests=123, recorded_hours=2.0,
    ...     recorded_late=0.0, replayed_hours=1.04, replayed_late=0.2)
    >>> print(_sentence(hour)[:60])
    2025-11-03 09:00 to 10:00 UTC: none of 123 requests was late
    """
    begin = datetime.fromtimestamp(hour.at, UTC)
    end = datetime.fromtimestamp(hour.at + HOUR_S, UTC)
    load = "" if hour.peak_load is None else f", load up to {hour.peak_load:.2g} erlangs"
    if max(hour.recorded_late, hour.replayed_late) < MIN_LATE:
        late = f"none of {hour.requests:,} requests was late, or would have been with the rule"
    else:
        late = (
            f"of {hour.requests:,} requests, {hour.recorded_late:,.0f} were late, and "
            f"{hour.replayed_late:,.0f} would have been with the rule"
        )
    return (
        f"{begin:%Y-%m-%d %H:%M} to {end:%H:%M} UTC{load}: {late}, which would have used "
        f"{_short(hour.replayed_hours)} instead of {_short(hour.recorded_hours)} allocation-hours"
    )


def _short(hours: float) -> str:
    return f"{hours:.1f}".replace(".0", "")
