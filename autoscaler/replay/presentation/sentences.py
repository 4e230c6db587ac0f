"""What a replay found, in sentences: for the terminal, the page and Markdown."""

from datetime import UTC, datetime

from autoscaler.core.units import duration_text, percent_text
from autoscaler.replay.presentation.figures import (
    change_text,
    hours_text,
    hours_with_interval,
    percent_with_interval,
)
from autoscaler.replay.results import DeploymentReplay, Estimate, ReplayResults
from autoscaler.replay.totals import WEEK_S, Totals, hours_difference, late_difference, times

METHOD = (
    "The value of a policy is the simulated one, corrected by the difference between what was "
    "observed and the simulation of what really ran. Intervals are of 95%, by a bootstrap of hours."
)

SHADOW = (
    "A dry run also judges itself as it goes. Those days are not in this report but on the status "
    "page and in the output of explain, and they differ from it: they follow from the statistics "
    "of each cycle, and have nothing simulated and no other policies."
)


def verdict_text(replayed: DeploymentReplay) -> str:
    """What the operator's rule would have done, or that there is no verdict and why."""
    if not replayed.has_verdict:
        return f"No verdict: {'; '.join(replayed.refusals)}."
    if not replayed.policies:
        return "No verdict: no rule was simulated."
    rule, observed = replayed.policies[0], replayed.observed
    used = observed.hours.value
    hours = (
        change_text(times(hours_difference(rule, observed), 1.0 / used))
        if used > 0.0
        else f"{hours_with_interval(rule.hours)} allocation-hours instead of none"
    )
    difference = late_difference(rule, observed)
    late = _late(rule.late_fraction, observed.late_fraction, difference)
    return f"It would have used {hours}, and {late}."


def _late(late: Estimate, observed: Estimate, difference: Estimate) -> str:
    recorded = percent_with_interval(observed)
    would = f"{percent_with_interval(late)} of the requests would have been late"
    if difference.low <= 0.0 <= difference.high:
        return f"{would}, which is no certain difference from {recorded}"
    return f"{would} instead of {recorded}"


def slo_sentence(replayed: DeploymentReplay) -> str:
    return (
        f"{percent_text(replayed.slo_target)} of the requests wait at most "
        f"{duration_text(replayed.slo_wait_s)}"
    )


def headline(totals: Totals | None, results: ReplayResults) -> str:
    """All deployments in one sentence."""
    count = len(results.deployments)
    if totals is None:
        return (
            f"No verdict for {deployments_text(count)}: the reasons are below."
            if count
            else "There is nothing to judge: no deployment could be replayed."
        )
    with_rules = "With the rule" if totals.deployments == 1 else "With the rules"
    change = (
        change_text(times(totals.hours_difference, 1.0 / totals.recorded_hours))
        if totals.recorded_hours > 0.0
        else f"{hours_text(totals.hours.value)} allocation-hours"
    )
    others = (
        f" For {_more_deployments(totals.without_verdict)}, there is no verdict."
        if totals.without_verdict
        else ""
    )
    return (
        f"{with_rules}, {deployments_text(totals.deployments)} would have used {change}, and "
        f"{_late(totals.late, totals.recorded_late, totals.late_difference)}.{others}"
    )


def period_text(since: float, until: float) -> str:
    """
    >>> period_text(1_762_128_000.0, 1_762_214_400.0)
    '2025-11-03 00:00 to 2025-11-04 00:00 UTC (24 h)'
    """
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (since, until))
    return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC ({duration_text(until - since)})"


def month_caveat(results: ReplayResults) -> str:
    """How far the figures of a month can be believed."""
    span_s = results.until - results.since
    week = (
        "; and the record is shorter than a week, so that weekdays and weekends may differ from it"
        if span_s < WEEK_S
        else ""
    )
    return (
        f"Extrapolated from {duration_text(span_s)}: a month of 30.4 days in which every hour is "
        "like the recorded ones. The interval is that of the record; it does not contain what "
        f"would be different in other weeks{week}."
    )


def _more_deployments(count: int) -> str:
    return "one more deployment" if count == 1 else f"{count:,} more deployments"


def deployments_text(count: int) -> str:
    return "one deployment" if count == 1 else f"{count:,} deployments"
