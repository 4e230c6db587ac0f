"""Load that recurs within two hours: jobs on a timer, which begin and end by the clock.

For each possible period, the rate of a slot is compared with the rate one period earlier. The
period whose error is the smallest is that of the load, if the error is a small part of the
variance. Then the rate at an instant is expected to be that of one, two and three periods before.
(The seasonal naive forecast: R. J. Hyndman and G. Athanasopoulos, Forecasting: Principles and
Practice, 3rd ed., 2021, 5.2; its error relative to the variance is one minus the autocorrelation.)
"""

import math
from collections.abc import Callable, Iterable

from autoscaler.core.slo.count_history import SLOT_S, CountHistory, Lookback, with_count
from autoscaler.core.values import Value

PERIODS_S = tuple([60.0 * minutes for minutes in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120)])
"""Periods that are considered, in seconds."""

_LAGS = tuple([round(period_s / SLOT_S) for period_s in PERIODS_S])  # in slots

MEMORY_PERIODS = 2.0
"""Periods over which errors are averaged."""

MINUTE = 6
"""Slots of a minute."""

SHORT = 6
"""Periods, the shortest ones, whose rates are compared slot by slot. Those of longer ones are
compared minute by minute, which takes a sixth of the time."""

_NAIVE_LAGS = tuple([min(MINUTE, lag // 2) for lag in _LAGS])

_LOOKBACK = Lookback((*_LAGS[:SHORT], *_NAIVE_LAGS[:SHORT]))

_SPANS_S = tuple([SLOT_S if index < SHORT else MINUTE * SLOT_S for index in range(len(PERIODS_S))])
# The weight of earlier comparisons after another one.
_KEPT = tuple(
    [
        math.exp(-span_s / (MEMORY_PERIODS * period_s))
        for span_s, period_s in zip(_SPANS_S, PERIODS_S, strict=True)
    ]
)
# Of each of the shortest periods: where its two rates are in `_LOOKBACK`, and that weight.
_SHORT = tuple(
    [
        (_LOOKBACK.index(lag), _LOOKBACK.index(naive), kept)
        for lag, naive, kept in zip(_LAGS[:SHORT], _NAIVE_LAGS[:SHORT], _KEPT, strict=False)
    ]
)
# The decayed number of comparisons after almost a whole period of them.
_NEARLY_WHOLE = tuple(
    [
        0.99 * (MEMORY_PERIODS * period_s / span_s * -math.expm1(-1.0 / MEMORY_PERIODS))
        for span_s, period_s in zip(_SPANS_S, PERIODS_S, strict=True)
    ]
)

MAX_ERROR = 0.25
"""Squared error of a period up to which it is that of the load, as a fraction of the error that
unrelated rates would have. 0.25: a single step of the load leaves 0.32, at any period."""

MAX_NAIVE = 0.5
"""The same as a fraction of the error of the rate a minute earlier. A load that changes slowly
resembles itself at any short period, and is no better explained by one."""

MIN_VARIANCE = 4.0
"""Variance of the rates, as a multiple of that of random counts, from which on it can recur."""

SIMILAR = 0.05
"""Difference of such fractions up to which the shorter of two periods is preferred: multiples of a
period recur as well, and random counts matter less in the longer ones, which are compared minute by
minute."""

REPETITIONS = ((1, 0.6), (2, 0.25), (3, 0.15))
"""Periods back, and the probability of the rate at that time."""

MAX_UNCHANGED_S = 480.0
"""Seconds for which the next rise is looked for. 480 s: the longest time constant of a rate."""

CHANGE_SIGMA = 5.0
"""Standard deviations of a count above which the rates of two slots differ."""

MIN_RELATIVE_VARIANCE = 0.0004
"""Minimum relative variance from one period to the next: a standard deviation of 2%."""


class PeriodError(Value, frozen=True):
    """Decayed sums over the slots or minutes that were compared with those one period earlier."""

    slots: float = 0.0
    rate: float = 0.0  # sum of the rates
    square: float = 0.0  # of the squared rates
    error: float = 0.0  # of the squared differences
    naive: float = 0.0  # of those from the rate a minute earlier; half of a period of one minute

    @property
    def variance(self) -> float:
        mean = self.rate / self.slots
        return max(0.0, self.square / self.slots - mean * mean)


class Recurrence(Value, frozen=True, kw_only=True):
    """The counts of the last hours, and how well each period explains them."""

    history: CountHistory = CountHistory()
    # While the load does not recur, the errors are those up to the last complete minute: only the
    # choice of a period needs them, once a minute.
    errors: tuple[PeriodError, ...] = (PeriodError(),) * len(PERIODS_S)
    period: int | None = None  # index of the period of the load; None: it does not recur


class ExpectedRate(Value, frozen=True):
    """A rate that is expected, with its probability."""

    probability: float
    rate_per_s: float
    relative_variance: float  # of the rate, apart from that of random counts


def after_count(known: Recurrence, requests: int, until: float, interval_s: float) -> Recurrence:
    """The recurrence after an interval.

    Args:
        until: Unix seconds of its end.
    """
    before = known.history.slot
    history = with_count(known.history, requests, until, interval_s)
    if history.slot == before:
        return Recurrence(history=history, errors=known.errors, period=known.period)
    errors, period = known.errors, known.period
    since = before if period is not None else before - before % MINUTE
    first = max(before, history.slot - MINUTE)  # the slots before it were not observed
    if first // MINUTE > before // MINUTE:
        errors = _after_slots(known.history, since, before, errors)
        period, since = _best(errors), first
    for slot in range(first, history.slot):
        if slot % MINUTE == MINUTE - 1:
            errors = _after_slots(history, since, slot + 1, errors)
            errors = (*errors[:SHORT], *_after_minute(history, slot - MINUTE + 1, errors[SHORT:]))
            period, since = _best(errors), slot + 1
    if period is not None:
        errors = _after_slots(history, since, history.slot, errors)
    return Recurrence(history=history, errors=errors, period=period)


def _after_slots(
    history: CountHistory, since: int, until: int, errors: tuple[PeriodError, ...]
) -> tuple[PeriodError, ...]:
    """The errors, those of the shortest periods after some more slots."""
    rates = [_LOOKBACK.rates(history, slot) for slot in range(since, until)]
    known = [each for each in rates if each[-1] >= 0.0]  # not nan
    if not known:
        return errors
    short = [
        _compared_all(error, known, lag, naive, kept)
        for error, (lag, naive, kept) in zip(errors, _SHORT, strict=False)
    ]
    return (*short, *errors[SHORT:])


def _after_minute(
    history: CountHistory, minute: int, errors: tuple[PeriodError, ...]
) -> Iterable[PeriodError]:
    """The errors of the longer periods after another minute, which began with this slot."""
    rate = history.minute_rate(minute)
    if not rate >= 0.0:  # nan
        return errors
    before = history.minute_rate(minute - MINUTE)
    return [
        _compared(error, rate, history.minute_rate(minute - lag), before, kept)
        for error, lag, kept in zip(errors, _LAGS[SHORT:], _KEPT[SHORT:], strict=True)
    ]


def _compared(
    known: PeriodError, rate: float, earlier: float, before: float, kept: float
) -> PeriodError:
    """The sums after another comparison: with one period earlier, and with shortly before."""
    if not (earlier >= 0.0 and before >= 0.0):  # nan
        return known
    difference, change = rate - earlier, rate - before
    return PeriodError(
        kept * known.slots + 1.0,
        kept * known.rate + rate,
        kept * known.square + rate * rate,
        kept * known.error + difference * difference,
        kept * known.naive + change * change,
    )


def _compared_all(
    known: PeriodError, rates: list[tuple[float, ...]], lag: int, naive: int, kept: float
) -> PeriodError:
    """The same after a few comparisons, in numbers of their own, which is several times as fast.

    Args:
        rates: of `_LOOKBACK`, the last of them those compared with the ones at `lag` and `naive`.
    """
    slots, total, square = known.slots, known.rate, known.square
    error, by_naive, compared = known.error, known.naive, False
    for each in rates:
        rate, earlier, before = each[-1], each[lag], each[naive]
        if earlier >= 0.0 and before >= 0.0:  # not nan
            difference, change = rate - earlier, rate - before
            slots = kept * slots + 1.0
            total = kept * total + rate
            square = kept * square + rate * rate
            error = kept * error + difference * difference
            by_naive = kept * by_naive + change * change
            compared = True
    return PeriodError(slots, total, square, error, by_naive) if compared else known


def _best(errors: tuple[PeriodError, ...]) -> int | None:
    """The shortest of the periods that explain the rates best; None if none explains them."""
    candidates = []
    for index, (error, span_s, nearly) in enumerate(
        zip(errors, _SPANS_S, _NEARLY_WHOLE, strict=True)
    ):
        if error.slots >= nearly and error.error < MAX_NAIVE * error.naive:
            variance, by_chance = error.variance, error.rate / error.slots / span_s
            unrelated = 2.0 * variance * error.slots
            if variance > MIN_VARIANCE * by_chance and error.error < MAX_ERROR * unrelated:
                candidates.append((error.error / unrelated, index))
    if not candidates:
        return None
    least = min(candidates)[0]
    return next(index for each, index in candidates if each <= least + SIMILAR)


def expected_rates(known: Recurrence, since: float, until: float) -> tuple[ExpectedRate, ...]:
    """The mean rates to expect between two instants, which are at most one period after the last
    count; empty if the load does not recur."""
    if known.period is None:
        return ()
    return _expected(
        known, known.period, lambda shift: known.history.mean_rate(since - shift, until - shift)
    )


def expected_peaks(known: Recurrence, since: float, until: float) -> tuple[ExpectedRate, ...]:
    """The same of the highest rates of a slot between two instants."""
    if known.period is None:
        return ()
    first, last = math.floor(since / SLOT_S), math.ceil(until / SLOT_S)

    def peak(shift: float) -> float:
        lag = round(shift / SLOT_S)
        rates = [known.history.rate(slot - lag) for slot in range(first, last)]
        return max([rate for rate in rates if rate >= 0.0], default=math.nan)

    return _expected(known, known.period, peak)


def unchanged_s(known: Recurrence, at: float, rate_per_s: float) -> float:
    """Seconds until a higher rate than this one is expected, at most `MAX_UNCHANGED_S`."""
    if known.period is None:
        return 0.0
    slot = math.floor(at / SLOT_S)
    most = rate_per_s + 3.0 * math.sqrt(rate_per_s / SLOT_S)
    for ahead in range(1, round(MAX_UNCHANGED_S / SLOT_S)):
        if _before(known, slot + ahead) > most:
            return ahead * SLOT_S
    return MAX_UNCHANGED_S


def next_change_s(known: Recurrence, at: float, within_s: float, lead_s: float) -> float | None:
    """Seconds until a poll that is in time for a change of the expected rate; 0 while a rate
    changes, None if none does.

    Args:
        within_s: changes so far ahead count.
        lead_s: a poll has to be so much earlier than a change.
    """
    if known.period is None:
        return None
    slot, before = math.floor(at / SLOT_S), None
    for ahead in range(slot - 1, math.ceil((at + within_s) / SLOT_S)):
        rate = _before(known, ahead)
        if before is not None and _differ(before, rate):
            return max(0.0, ahead * SLOT_S - lead_s - at)
        before = rate
    return None


def _before(known: Recurrence, slot: int) -> float:
    """The rate of the slot that is the last one known at this time of the period."""
    assert known.period is not None, "the load recurs"
    lag = _LAGS[known.period]
    return known.history.rate(slot - lag * max(1, (slot - known.history.slot) // lag + 1))


def _differ(one: float, other: float) -> bool:
    change = (other - one) * SLOT_S
    return change * change > CHANGE_SIGMA * CHANGE_SIGMA * max(1.0, max(one, other) * SLOT_S)


def mean_rate(rates: Iterable[ExpectedRate]) -> float:
    """The mean of the rates; 0 without any."""
    return sum([each.probability * each.rate_per_s for each in rates], 0.0)


def _expected(
    known: Recurrence, period: int, rate_before: Callable[[float], float]
) -> tuple[ExpectedRate, ...]:
    period_s, error = PERIODS_S[period], known.errors[period]
    mean = error.rate / error.slots
    noise = 2.0 * mean / _SPANS_S[period]  # of random counts, of two slots or minutes
    excess = (error.error / error.slots - noise) / (2.0 * error.square / error.slots)
    relative_variance = max(MIN_RELATIVE_VARIANCE, excess)
    found, total = [], 0.0
    for periods, probability in REPETITIONS:
        rate = rate_before(periods * period_s)
        if rate >= 0.0:
            found.append((probability, rate))
            total += probability
    return tuple([ExpectedRate(each / total, rate, relative_variance) for each, rate in found])
