"""Values of policies with 95 % intervals, from their draws and from what was observed.

The value of a policy is its simulated value plus what the simulation of what really ran lacks:
the observed statistic minus the simulated one, times the coefficient with which the value of the
policy follows that statistic over the draws (a control variate: Lavenberg and Welch, Management
Science 27, 1981). For what really ran itself, the coefficient is about 1; for a policy under which
no request waits, it is 0, because its value has nothing in common with the queues of another one.

The error has two parts: how much the draws differ, as what happened is one more of them, and how
much the difference varies from hour to hour, by a bootstrap of whole hours, because requests that
are late come together.
"""

import math
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from autoscaler.replay.record import Floats
from autoscaler.replay.results import Estimate

REPLICATES = 1000

LEVEL = 0.95

MAX_COEFFICIENT = 3.0

CHANCE_ERRORS = 2.0
"""Standard errors up to which a coefficient may be chance."""

_STREAM = 1804


class Spread(Struct, frozen=True, kw_only=True):
    """A value, its standard deviation, and the degrees of freedom of that."""

    value: float
    deviation: float
    freedom: float


class Observed(Struct, frozen=True, kw_only=True, eq=False):
    """The statistic of what really ran, by hour: simulated in each draw, and observed."""

    simulated: Floats  # draws x hours
    observed: Floats  # hours; nan: unknown

    @property
    def lacking(self) -> Floats:
        """What the simulation lacks in each hour; 0 where nothing was observed."""
        lacking: Floats = np.nan_to_num(self.observed - self.simulated.mean(axis=0))
        return lacking

    @property
    def centred(self) -> Floats:
        known = ~np.isnan(self.observed)
        centred: Floats = (self.simulated - self.simulated.mean(axis=0)) * known
        return centred


def coefficient(values: Floats, statistic: Observed) -> float:
    """By which a value follows the statistic, over all draws and hours.

    Reduced, to 0 if chance explains it: the coefficient of a few draws is never exactly 0.
    """
    centred, off = statistic.centred, values - values.mean(axis=0)
    squares = float((centred**2).sum())
    if squares <= 0.0:
        return 0.0
    slope = float((off * centred).sum()) / squares
    rest = float(((off - slope * centred) ** 2).sum())
    by_chance = CHANCE_ERRORS**2 * rest / (centred.size * squares)
    if slope**2 <= by_chance:
        return 0.0
    slope *= 1.0 - by_chance / slope**2
    return min(max(slope, -MAX_COEFFICIENT), MAX_COEFFICIENT)


def adjusted(values: Floats, statistic: Observed, seed: int) -> Spread:
    """The total of all hours.

    Args:
        values: draws x hours.
    """
    draws, hours = values.shape
    slope = coefficient(values, statistic)
    lacking = slope * statistic.lacking
    rest = values - slope * statistic.centred
    value = float(values.mean(axis=0).sum() + lacking.sum())
    rng = np.random.default_rng([_STREAM, seed])
    # What happened is one more draw, and the mean of the draws has an error, too.
    scale = math.sqrt(draws / max(draws - 1, 1) * (1.0 + 1.0 / draws))
    residuals = (rest - rest.mean(axis=0)) * scale
    chosen = rng.integers(draws, size=(REPLICATES, hours))
    by_draw = residuals[chosen, np.arange(hours)].sum(axis=1)
    blocks = rng.integers(hours, size=(REPLICATES, hours))
    misses = (lacking - lacking.mean()) * math.sqrt(hours / max(hours - 1, 1))
    by_hour = misses[blocks].sum(axis=1)
    variance, freedom = float((by_draw**2).mean()), _freedom(residuals, draws)
    # What is unknown of a whole draw, such as the loading time, makes all of its hours alike.
    totals = float((residuals.sum(axis=1) ** 2).mean())
    if totals > variance:
        variance, freedom = totals, float(max(draws - 1, 1))
    deviation = math.sqrt(variance + float((by_hour**2).mean()))
    return Spread(value=value, deviation=deviation, freedom=freedom)


def _freedom(residuals: Floats, draws: int) -> float:
    """By Welch and Satterthwaite: few, if one hour has most of the variance."""
    variances = (residuals**2).mean(axis=0)
    total = float(variances.sum())
    if total <= 0.0:
        return float(max(draws - 1, 1))
    return max(1.0, (draws - 1) * total**2 / float((variances**2).sum()))


def interval_of(spread: Spread, *, inflation: float = 1.0, level: float = LEVEL) -> Estimate:
    """A symmetric interval, not below 0."""
    width = inflation * spread.deviation * t_quantile((1.0 + level) / 2.0, spread.freedom)
    value = max(spread.value, 0.0)
    return Estimate(value=value, low=max(0.0, spread.value - width), high=value + width)


def difference_of(spread: Spread, *, inflation: float = 1.0) -> Estimate:
    width = inflation * spread.deviation * t_quantile((1.0 + LEVEL) / 2.0, spread.freedom)
    return Estimate(value=spread.value, low=spread.value - width, high=spread.value + width)


def narrowed(difference: Estimate, one: Estimate, other: Estimate) -> Estimate:
    """The difference between two counts, no wider than their intervals allow.

    The interval of a difference is symmetric, and contains counts below 0 where both are small.
    """
    lowest, highest = one.low - other.high, one.high - other.low
    value, low, high = (
        min(max(each, lowest), highest)
        for each in (difference.value, difference.low, difference.high)
    )
    return Estimate(value=value, low=low, high=high)


def count_interval_of(
    spread: Spread, least: float, *, inflation: float = 1.0, level: float = LEVEL
) -> Estimate:
    """An interval of a count: log-normal, because few hours have most of the late requests.

    Args:
        least: a standard deviation in requests that no interval has less of: a count that was 0 in
            all draws may be more in the next one.
    """
    value = max(spread.value, 0.0)
    deviation = math.hypot(inflation * spread.deviation, least)
    quantile = t_quantile((1.0 + level) / 2.0, spread.freedom)
    mean = max(value, deviation / 2.0)
    variance = math.log1p((deviation / mean) ** 2)
    width, middle = quantile * math.sqrt(variance), math.log(mean) - variance / 2.0
    low, high = math.exp(middle - width), math.exp(middle + width)
    if value < deviation:
        low = 0.0  # as good as none
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def t_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's t, by its expansion about the normal one (Abramowitz and Stegun,
    26.7.5), accurate to a hundredth from 3 degrees of freedom on.

    >>> round(t_quantile(0.975, 10.0), 2), round(t_quantile(0.975, 1e9), 2)
    (2.23, 1.96)
    """
    z, many = NormalDist().inv_cdf(level), max(freedom, 2.0)
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    return z + first / many + second / many**2 + third / many**3
