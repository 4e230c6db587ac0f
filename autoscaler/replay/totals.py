"""All deployments of a replay together, and what a month would use."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from autoscaler.replay.results import DeploymentReplay, Estimate, PolicyResult, ReplayResults

MONTH_H = 365.25 / 12 * 24
"""Hours of a month: a twelfth of a year."""

WEEK_S = 7 * 86_400.0


class Totals(Struct, frozen=True, kw_only=True):
    """The deployments of a replay that have a verdict. Allocation-hours, and fractions of requests.

    The bounds of an interval are the sums of those of the deployments. So it holds however the
    deployments depend on each other, and is wide if they do not.
    """

    deployments: int  # with a verdict
    without_verdict: int
    requests: int
    recorded_hours: float
    hours: Estimate  # with the rules
    hours_difference: Estimate
    recorded_late: Estimate
    late: Estimate
    late_difference: Estimate
    meets: int  # deployments whose rule meets the SLO
    recorded_meets: int  # deployments that met it
    month_recorded_hours: float
    month_hours: Estimate
    month_difference: Estimate


def judged_s(replayed: DeploymentReplay) -> float:
    """Seconds that the figures are of: those of the record without gaps."""
    known_s = replayed.known_s
    return replayed.until - replayed.since if known_s is None else known_s


def rule_of(replayed: DeploymentReplay) -> PolicyResult | None:
    """The operator's rule; None if it was not simulated."""
    return replayed.policies[0] if replayed.policies else None


def judged(results: ReplayResults) -> list[DeploymentReplay]:
    """The deployments with a verdict."""
    return [each for each in results.deployments if each.has_verdict and each.policies]


def hours_difference(policy: PolicyResult, observed: PolicyResult) -> Estimate:
    """Allocation-hours more than what really ran; negative: fewer."""
    return policy.hours_difference or _minus(policy.hours, observed.hours)


def late_difference(policy: PolicyResult, observed: PolicyResult) -> Estimate:
    """Of the fraction of late requests, more than what really ran; negative: fewer."""
    return policy.late_difference or _minus(policy.late_fraction, observed.late_fraction)


def meets(policy: PolicyResult, slo_target: float) -> bool:
    return policy.late_fraction.value <= 1.0 - slo_target + 1e-9


def totals_of(results: ReplayResults) -> Totals | None:
    """None if no deployment has a verdict."""
    replays = judged(results)
    if not replays:
        return None
    rules = [each.policies[0] for each in replays]
    requests = [each.requests for each in replays]
    differences = [
        hours_difference(rule, each.observed) for rule, each in zip(rules, replays, strict=True)
    ]
    late_differences = [
        late_difference(rule, each.observed) for rule, each in zip(rules, replays, strict=True)
    ]
    months = [MONTH_H * 3600.0 / max(judged_s(each), 1.0) for each in replays]
    recorded = [each.observed.hours.value for each in replays]
    return Totals(
        deployments=len(replays),
        without_verdict=len(results.deployments) - len(replays),
        requests=sum(requests),
        recorded_hours=sum(recorded),
        hours=_sum(rule.hours for rule in rules),
        hours_difference=_sum(differences),
        recorded_late=_mean([each.observed.late_fraction for each in replays], requests),
        late=_mean([rule.late_fraction for rule in rules], requests),
        late_difference=_mean(late_differences, requests),
        meets=sum(meets(r, each.slo_target) for r, each in zip(rules, replays, strict=True)),
        recorded_meets=sum(meets(each.observed, each.slo_target) for each in replays),
        month_recorded_hours=sum(h * month for h, month in zip(recorded, months, strict=True)),
        month_hours=_sum(times(r.hours, month) for r, month in zip(rules, months, strict=True)),
        month_difference=_sum(
            times(each, month) for each, month in zip(differences, months, strict=True)
        ),
    )


def times(estimate: Estimate, factor: float) -> Estimate:
    """A positive multiple."""
    return Estimate(estimate.value * factor, estimate.low * factor, estimate.high * factor)


def _sum(estimates: Iterable[Estimate]) -> Estimate:
    listed = list(estimates)
    return Estimate(
        sum(each.value for each in listed),
        sum(each.low for each in listed),
        sum(each.high for each in listed),
    )


def _mean(fractions: Sequence[Estimate], requests: Sequence[int]) -> Estimate:
    """The fraction of all requests."""
    every = max(1, sum(requests))
    return _sum(times(each, count / every) for each, count in zip(fractions, requests, strict=True))


def _minus(one: Estimate, other: Estimate) -> Estimate:
    return Estimate(one.value - other.value, one.low - other.high, one.high - other.low)
