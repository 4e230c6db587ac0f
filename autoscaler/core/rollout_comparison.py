"""Whether more requests are late in the active blocks of a gradual rollout than in the others.

Two tests, because losses differ in size. Both are sequential, so that they may be evaluated after
every poll:

- *Gross* losses within minutes: a betting martingale on the fraction of late requests of each
  minute (I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting,
  J. R. Stat. Soc. B 86, 2024). Requests of a burst are late together, so that a minute counts as
  one observation, however many requests it has. A minute that is not complete counts as if the
  rest of its requests were in time, since late ones cannot become fewer.
- *Small* losses over days: an interval of the difference that holds at all times (I. Waudby-Smith
  et al., Time-uniform central limit theory, Annals of Statistics 52, 2024), whose variance is that
  between the hours.

What the SLO allows is no loss: a rule that saves allocations uses the error budget on purpose.
"""

import math

from msgspec.structs import replace

from autoscaler.core.values import Value

MINUTE_S = 60.0
MIN_UNIT_REQUESTS = 10
"""Seconds and requests of one observation of the test for gross losses: at least both. With few
requests, one late request would be a minute in which most are late."""

BETS = (1.0, 2.0, 4.0, 8.0)
"""Fractions bet on a loss, one martingale each, of which the mean counts. With the largest, a
few seconds more than four minutes in which nearly all requests are late are enough, or ten minutes
in which a fifth is; a smaller one needs longer, and fewer late requests."""

MAX_STAKE = 0.5
"""Part of the capital that a bet loses at most: by a minute without late requests."""

GROSS_ALPHA = 0.0005
"""1 / the minutes until a revert by the test for gross losses where there is none, on average, at
least, if minutes are independent. An e-detector bounds that average, and no probability for all
times, because its capital does not fall below 1. Minutes of one burst are not independent: two of
three minutes, less than three quarters of an hour apart, revert a rule, also if days are within the
SLO. On public traces, 0.001 also reverts a rule that lets 2% of an hour's requests be late, and
with 0.0001 a bad one acts for up to 9.5 min."""

MIN_LOG_CAPITAL = 0.0
"""Logarithm below which the capital of a bet does not fall: a policy that has been good for weeks
is still reverted within minutes once it is not (an e-detector: J. Shin, A. Ramdas and A. Rinaldo,
E-detectors: a nonparametric framework for sequential change detection, NEJSDS 2, 2024)."""

ALPHA = 0.05
"""1 - confidence of the interval of the difference, at all times together."""

BEST_HOURS = 24.0
"""Number of hours for which the interval is tuned to be short: those of about a week."""

MIN_HOURS = 6
"""Hours of each kind of block from which on there is an interval. Its variance is not known with
fewer."""


class BlockTotals(Value, frozen=True, kw_only=True):
    """The sums over the blocks of one kind. Those over hours are of complete hours alone."""

    requests: float = 0.0
    late: float = 0.0
    seconds: float = 0.0  # measured
    allocation_s: float = 0.0  # running allocations times seconds
    hours: int = 0  # complete ones with requests
    hour_requests: float = 0.0
    hour_late: float = 0.0
    requests_squared: float = 0.0  # of each hour, summed
    late_squared: float = 0.0
    late_requests: float = 0.0  # the products of both

    @property
    def late_fraction(self) -> float | None:
        """None without requests."""
        return min(1.0, self.late / self.requests) if self.requests > 0.0 else None


class BlockHour(Value, frozen=True, kw_only=True):
    """The requests of the present hour."""

    requests: float = 0.0
    late: float = 0.0


class Evidence(Value, frozen=True, kw_only=True):
    """The test for gross losses: the capital of each bet, and the minute that is not complete."""

    log_capital: tuple[float, ...] = (MIN_LOG_CAPITAL,) * len(BETS)
    requests: float = 0.0
    late: float = 0.0
    unavoidable: float = 0.0  # of the late requests: those expected with what ran before
    seconds: float = 0.0
    # The complete minutes since the largest capital last exceeded 1.
    run_requests: float = 0.0
    run_late: float = 0.0
    run_s: float = 0.0


class Difference(Value, frozen=True, kw_only=True):
    """Late fraction in active blocks minus that in the others, with its interval."""

    estimate: float
    half_width: float  # of the interval that holds at all times


def added(
    totals: BlockTotals, requests: float, late: float, seconds: float, running: float
) -> BlockTotals:
    """The totals with one poll interval more."""
    return replace(
        totals,
        requests=totals.requests + requests,
        late=totals.late + late,
        seconds=totals.seconds + seconds,
        allocation_s=totals.allocation_s + running * seconds,
    )


def with_hour(totals: BlockTotals, hour: BlockHour) -> BlockTotals:
    """The totals with one complete hour more."""
    if hour.requests <= 0.0:
        return totals
    return replace(
        totals,
        hours=totals.hours + 1,
        hour_requests=totals.hour_requests + hour.requests,
        hour_late=totals.hour_late + hour.late,
        requests_squared=totals.requests_squared + hour.requests**2,
        late_squared=totals.late_squared + hour.late**2,
        late_requests=totals.late_requests + hour.late * hour.requests,
    )


def observed(
    evidence: Evidence,
    requests: float,
    late: float,
    unavoidable: float,
    seconds: float,
    allowed: float,
) -> Evidence:
    """The evidence with one poll interval of an active block more.

    Args:
        unavoidable: late requests to expect with what ran before.
        allowed: fraction of late requests that is no loss, in [0, 1).
    """
    total = replace(
        evidence,
        requests=evidence.requests + requests,
        late=evidence.late + late,
        unavoidable=evidence.unavoidable + unavoidable,
        seconds=evidence.seconds + seconds,
    )
    if total.seconds < MINUTE_S or total.requests < MIN_UNIT_REQUESTS:
        return total
    log_capital = _after_minute(total, total.requests, allowed)
    if max(log_capital) <= MIN_LOG_CAPITAL:
        return Evidence()
    return Evidence(
        log_capital=log_capital,
        run_requests=total.run_requests + total.requests,
        run_late=total.run_late + total.late,
        run_s=total.run_s + total.seconds,
    )


def is_gross_loss(evidence: Evidence, allowed: float) -> bool:
    """Whether the evidence shows a loss: that of the complete minutes, or with the present one.

    Args:
        allowed: see `observed`.
    """
    log_capital = evidence.log_capital
    if evidence.requests > 0.0:
        expected = evidence.requests * max(1.0, MINUTE_S / evidence.seconds)
        log_capital = _after_minute(evidence, max(expected, MIN_UNIT_REQUESTS), allowed)
    return _log_mean(log_capital) >= -math.log(GROSS_ALPHA)


def evidence_of_loss(evidence: Evidence) -> float:
    """Of the complete minutes: 0 is none, and 1 is what reverts the rule."""
    return max(0.0, min(1.0, _log_mean(evidence.log_capital) / -math.log(GROSS_ALPHA)))


def _after_minute(evidence: Evidence, requests: float, allowed: float) -> tuple[float, ...]:
    """The logarithms of the capital after the present minute.

    Args:
        requests: of the whole minute, of which those that have not been observed are in time.
    """
    fraction = min(1.0, evidence.late / requests)
    no_loss = max(allowed, min(1.0, evidence.unavoidable / evidence.requests))
    return tuple(
        [
            max(MIN_LOG_CAPITAL, capital + math.log1p(_stake(bet, no_loss) * (fraction - no_loss)))
            for bet, capital in zip(BETS, evidence.log_capital, strict=True)
        ]
    )


def _stake(bet: float, no_loss: float) -> float:
    """The bet, as far as a minute without late requests leaves half of the capital."""
    return min(bet, MAX_STAKE / no_loss) if no_loss > 0.0 else bet


def _log_mean(logarithms: tuple[float, ...]) -> float:
    highest = max(logarithms)
    return highest + math.log(
        sum(math.exp(each - highest) for each in logarithms) / len(logarithms)
    )


def difference(active: BlockTotals, before: BlockTotals) -> Difference | None:
    """The difference of the late fractions; None: there are too few complete hours."""
    if min(active.hours, before.hours) < MIN_HOURS:
        return None
    variance = _variance(active) + _variance(before)
    estimate = active.hour_late / active.hour_requests - before.hour_late / before.hour_requests
    factor = _factor(min(active.hours, before.hours))
    return Difference(estimate=estimate, half_width=factor * math.sqrt(variance))


def is_small_loss(active: BlockTotals, before: BlockTotals, allowed: float) -> bool:
    """Whether more requests are late than before, and than the SLO allows, each by more than the
    interval."""
    found = difference(active, before)
    if found is None or found.estimate <= found.half_width:
        return False
    beyond = active.hour_late / active.hour_requests - allowed
    return beyond > _factor(active.hours) * math.sqrt(_variance(active))


def _variance(totals: BlockTotals) -> float:
    """Of the late fraction, from the differences between hours (ratio estimator); no less than that
    of independent requests."""
    count, requests = totals.hours, totals.hour_requests
    ratio = min(1.0, totals.hour_late / requests)
    squares = (
        totals.late_squared
        - 2.0 * ratio * totals.late_requests
        + ratio * ratio * totals.requests_squared
    )
    between = max(0.0, squares) * count / (count - 1) / requests**2
    return max(between, ratio * (1.0 - ratio) / requests)


def _factor(hours: int) -> float:
    """Standard errors of half an interval that holds at all times.

    >>> round(_factor(24), 1), round(_factor(240), 1)
    (3.0, 3.3)
    """
    best = -2.0 * math.log(ALPHA)
    tuned = (best + math.log(best) + 1.0) / BEST_HOURS * hours
    return math.sqrt(2.0 * (tuned + 1.0) / tuned * math.log(math.sqrt(tuned + 1.0) / ALPHA))
