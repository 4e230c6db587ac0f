"""What load to expect next, as a distribution, learnt from counts alone.

Several memories compete to explain each count. Three hold the present level: the last interval, the
last minute, and the last minutes, each as a Gamma law of the rate with its Poisson uncertainty, so
that few requests mean great doubt. Two hold which levels there have been, in the last quarter of an
hour and in the last hours: they know of a burst what it looked like, and how often there is one.
And one knows nothing, for what has never been seen. Who explained the last count best has most to
say about the next; how often each was right in the long run decides how likely a leap is.

So the expectation narrows by itself while the load is steady, follows at once when it leaps, and
remembers a burst as long as bursts have come again. It is a mixture forecast with switching experts
(Herbster and Warmuth, Tracking the best expert, 1998) whose levels are discounted Gamma-Poisson
models (West and Harrison, Bayesian Forecasting and Dynamic Models, 1997, chapter 10).
"""

import math
from collections.abc import Iterable, Mapping

from autoscaler.core.values import Value

RATE_WINDOWS_S = (0.0, 60.0, 480.0)
"""How long each memory of the present level lasts. 0: the last interval alone."""

HISTORY_WINDOWS_S = (900.0, 14_400.0)
"""How long each memory of levels lasts that there have been."""

SWITCHING_RATE = 0.05
"""From count to count, the share of trust that goes to what is right in the long run."""

PRIOR_LEARNING_RATE = 0.005
"""How much one count teaches about who is right in the long run."""

GRID_STEP = 0.1
"""Loads are told apart by their square roots, in steps of this: everywhere a like part of the
random variation, which grows as the square root of the load."""

MIN_SPREAD = 0.01
"""A level is not known better than to this share of itself: it drifts."""

NEGLIGIBLE = 1e-6
"""A load that is less likely is left out."""

PAST_NEGLIGIBLE = 1e-5
"""A level that there was more seldom is forgotten."""

MIN_DURATION_S = 10.0
"""No level is taken to have lasted less."""

_UNKNOWN_NORMALISER = 14.0
"""Log-uniform over six decades: the chance of each count that nobody has foreseen is one over this
and over the count."""

_NODES = ((-math.sqrt(3.0), 1.0 / 6.0), (0.0, 2.0 / 3.0), (math.sqrt(3.0), 1.0 / 6.0))
"""Gauss-Hermite quadrature with three points."""

LoadDistribution = Mapping[int, float]
"""Weights by the number of a load; see `load_at`."""


def load_of_index(number: int) -> float:
    """Erlangs of the load that has this number."""
    root = GRID_STEP * number
    return root * root


def index_of_load(load: float) -> int:
    """Of the nearest load that has one."""
    return round(math.sqrt(load) / GRID_STEP)


class RateEstimate(Value, frozen=True):
    """Requests in so many seconds, both fading."""

    requests: float = 0.0
    time_s: float = 0.0


class LoadMixture(Value, frozen=True, kw_only=True):
    """What is to be expected, and who says so."""

    rates: tuple[RateEstimate, ...] = (RateEstimate(),) * len(RATE_WINDOWS_S)
    histories: tuple[LoadDistribution, ...] = ({},) * len(HISTORY_WINDOWS_S)
    # Of each level, each past and the unknown, in this order: the trust in it now, ...
    weights: tuple[float, ...] = (1.0, *(0.0,) * (len(RATE_WINDOWS_S) + len(HISTORY_WINDOWS_S)))
    # ... and how often it was right in the long run.
    prior_weights: tuple[float, ...] = (
        *(0.97 / len(RATE_WINDOWS_S),) * len(RATE_WINDOWS_S),
        *(0.01,) * (len(HISTORY_WINDOWS_S) + 1),
    )

    @property
    def expected_duration_s(self) -> float:
        """How long the present level has lasted, as far as the trusted memories say."""
        return MIN_DURATION_S + sum(
            [weights * lasts for weights, lasts in zip(self.weights, RATE_WINDOWS_S, strict=False)]
        )

    @property
    def rate_per_s(self) -> float:
        """Of arrivals, by the trusted levels."""
        rate = weight = 0.0
        for weights, level in zip(self.weights, self.rates, strict=False):
            if level.time_s > 0.0:
                rate += weights * level.requests / level.time_s
                weight += weights
        return rate / weight if weight > 0.0 else 0.0


def updated(
    known: LoadMixture, arrivals: int, interval_s: float, service_time_s: float, dispersion: float
) -> LoadMixture:
    """What is to be expected once so many requests have come in an interval.

    Args:
        dispersion: variance of counts over their mean, at least 1: so many requests are worth one
            that comes by itself.
    """
    weights = _trust(known, arrivals, interval_s, service_time_s, dispersion)
    prior_weights = tuple(
        [
            m + PRIOR_LEARNING_RATE * (t - m)
            for m, t in zip(known.prior_weights, weights, strict=True)
        ]
    )
    # After a leap, what the last interval shows is all that is known of the new level.
    levels_count = len(RATE_WINDOWS_S)
    jumped = sum(weights[levels_count:])
    weights = (
        weights[0] + jumped,
        *weights[1:levels_count],
        *(0.0,) * (len(weights) - levels_count),
    )
    rates = tuple(
        [
            _decayed(level, expected_duration_s, arrivals, interval_s)
            for level, expected_duration_s in zip(known.rates, RATE_WINDOWS_S, strict=True)
        ]
    )
    present = _present(rates, weights, service_time_s, dispersion)
    return LoadMixture(
        rates=rates,
        histories=tuple(
            [
                _mixed(past, present, -math.expm1(-interval_s / expected_duration_s))
                for past, expected_duration_s in zip(
                    known.histories, HISTORY_WINDOWS_S, strict=True
                )
            ]
        ),
        weights=tuple(
            [t + SWITCHING_RATE * (m - t) for t, m in zip(weights, prior_weights, strict=True)]
        ),
        prior_weights=prior_weights,
    )


def predicted(known: LoadMixture, service_time_s: float, dispersion: float) -> LoadDistribution:
    """The loads to expect in the next interval, and how likely each is."""
    loads = _present(known.rates, known.weights, service_time_s, dispersion)
    rates = len(RATE_WINDOWS_S)
    for weights, past in zip(known.weights[rates:], known.histories, strict=False):
        for number, weight in past.items():
            loads[number] = loads.get(number, 0.0) + weights * weight
    total = sum(loads.values())
    return {number: weight / total for number, weight in loads.items() if weight > NEGLIGIBLE}


def mean_and_spread(loads: LoadDistribution) -> tuple[float, float]:
    """Erlangs: the mean of the loads to expect, and their standard deviation."""
    mean = square = 0.0
    for number, weight in loads.items():
        load = load_of_index(number)
        mean += weight * load
        square += weight * load * load
    return mean, math.sqrt(max(0.0, square - mean * mean))


def _trust(
    known: LoadMixture, arrivals: int, interval_s: float, service_time_s: float, dispersion: float
) -> tuple[float, ...]:
    """The trust in each, by Bayes' rule."""
    count = arrivals / dispersion
    log_factorial = math.lgamma(count + 1.0)
    chances = [
        _chance_of_level(level, count, interval_s, dispersion, log_factorial)
        for level in known.rates
    ]
    per_erlang = interval_s / (dispersion * service_time_s)
    chances += [_chance_in_past(past, count, per_erlang, log_factorial) for past in known.histories]
    chances.append(1.0 / (_UNKNOWN_NORMALISER * (count + 1.0)))
    weighted = [weights * chance for weights, chance in zip(known.weights, chances, strict=True)]
    total = sum(weighted)
    if total <= 0.0:
        return (*(0.0,) * (len(weighted) - 1), 1.0)
    return tuple([weight / total for weight in weighted])


def _chance_of_level(
    level: RateEstimate, count: float, interval_s: float, dispersion: float, log_factorial: float
) -> float:
    """Of such a count, at a rate that is known from other counts: a negative binomial law."""
    if level.time_s <= 0.0:
        return 0.0
    shape = level.requests / dispersion + 0.5
    total_s = level.time_s + interval_s
    return math.exp(
        math.lgamma(count + shape)
        - math.lgamma(shape)
        - log_factorial
        + shape * math.log(level.time_s / total_s)
        + count * math.log(interval_s / total_s)
    )


def _chance_in_past(
    past: LoadDistribution, count: float, per_erlang: float, log_factorial: float
) -> float:
    """Of such a count, at one of the levels that there have been: Poisson laws."""
    root, chance = math.sqrt(count), 0.0
    for number, weight in past.items():
        mean = load_of_index(number) * per_erlang
        if abs(math.sqrt(mean) - root) < 3.0:  # six standard deviations
            logarithm = count * math.log(mean) - mean if mean > 0.0 else -count
            chance += weight * math.exp(logarithm - log_factorial)
    return chance


def _decayed(
    level: RateEstimate, expected_duration_s: float, arrivals: int, interval_s: float
) -> RateEstimate:
    kept = math.exp(-interval_s / expected_duration_s) if expected_duration_s > 0.0 else 0.0
    return RateEstimate(kept * level.requests + arrivals, kept * level.time_s + interval_s)


def _present(
    rates: Iterable[RateEstimate],
    weights: Iterable[float],
    service_time_s: float,
    dispersion: float,
) -> dict[int, float]:
    """The loads that the levels speak for."""
    loads: dict[int, float] = {}
    for weight, level in zip(weights, rates, strict=False):
        if weight < NEGLIGIBLE or level.time_s <= 0.0:
            continue
        shape = level.requests / dispersion + 0.5
        load = shape * dispersion / level.time_s * service_time_s
        spread = load * max(MIN_SPREAD, 1.0 / math.sqrt(shape))
        for score, share in _NODES:
            _add(loads, max(0.0, load + score * spread), weight * share)
    return loads


def _add(loads: dict[int, float], load: float, weight: float) -> None:
    """Share the weight between the two nearest loads that have a number."""
    place = math.sqrt(load) / GRID_STEP
    number = int(place)
    above = weight * (place - number)
    loads[number] = loads.get(number, 0.0) + weight - above
    loads[number + 1] = loads.get(number + 1, 0.0) + above


def _mixed(past: LoadDistribution, present: LoadDistribution, share: float) -> LoadDistribution:
    total = sum(present.values())
    blended = {number: (1.0 - share) * weight for number, weight in past.items()}
    for number, weight in present.items():
        blended[number] = blended.get(number, 0.0) + share * weight / total
    return {number: weight for number, weight in blended.items() if weight > PAST_NEGLIGIBLE}
