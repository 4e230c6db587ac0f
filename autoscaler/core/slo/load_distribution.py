"""The load to expect next, as a distribution, learned from arrival counts alone.

The prediction is a mixture of six models, each weighted by the likelihood it gave to recent counts.
Three estimate the present rate: from the last interval, the last minute, and the last minutes. Each
is a Gamma distribution of the rate with Poisson uncertainty, so that a few requests leave it wide.
Two hold the distribution of past loads, of the last quarter of an hour and of the last hours: after
a burst, they contain its load and how often bursts occur. One is uninformative, for loads never
observed before. The weights are updated with each count by Bayes' rule; prior weights, averaged
over a long time, determine the probability of a load jump.

So the prediction narrows while the load is steady, follows a jump at once, and retains the load of
a burst as long as bursts recur. It is a mixture forecast with switching experts (Herbster and
Warmuth, Tracking the best expert, 1998) whose rates are discounted Gamma-Poisson models (West and
Harrison, Bayesian Forecasting and Dynamic Models, 1997, chapter 10).
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from autoscaler.core.slo.count_history import SLOT_S
from autoscaler.core.slo.recurrence import ExpectedRate
from autoscaler.core.values import Value

RATE_WINDOWS_S = (0.0, 60.0, 480.0)
"""Time constants of the rate estimates, in seconds. 0: the last interval alone."""

HISTORY_WINDOWS_S = (900.0, 14_400.0)
"""Time constants of the distributions of past loads, in seconds: a quarter of an hour, and 4 h."""

SWITCHING_RATE = 0.05
"""Fraction of the weight that moves to the prior weights with each count, so that another model can
take over."""

PRIOR_LEARNING_RATE = 0.005
"""Weight of one count in the prior weights. 0.005: an average over about two hundred counts."""

CONTRADICTED = 0.01
"""Factor by which a count lowers the weight of rates that recur if it contradicts them."""

MAX_PRIOR_RECURRING = 0.98
"""The largest prior weight of rates that recur. The others remain, for when nothing recurs."""

GRID_STEP = 0.1
"""Step of the load grid, in square roots of erlangs. Random variation grows with the square root of
the load, so the grid resolves it equally well at any load."""

MIN_SPREAD = 0.01
"""Minimum relative standard deviation of a rate. 1%, because loads drift."""

NEGLIGIBLE = 1e-6
"""Probability below which a load is left out of the prediction."""

PAST_NEGLIGIBLE = 1e-5
"""Probability below which a load is dropped from the past loads."""

MAX_PAST_LOADS = 256
"""Past loads that are kept, the most frequent ones. Loads of the same order of magnitude take less
than a hundred."""

MIN_DURATION_S = 10.0
"""Minimum seconds that a load is assumed to have lasted: about one poll interval."""

_UNKNOWN_NORMALISER = 14.0
"""Normaliser of the uninformative model, which is log-uniform over six decades: about ln(1e6). The
probability of a count is 1 / (14 * (count + 1))."""

_NODES = ((-math.sqrt(3.0), 1.0 / 6.0), (0.0, 2.0 / 3.0), (math.sqrt(3.0), 1.0 / 6.0))
"""Gauss-Hermite quadrature with three points, as (score, probability)."""

LoadDistribution = Mapping[int, float]
"""Probabilities by the index of the load; see `load_of_index`."""


def load_of_index(index: int) -> float:
    """The load with this index, in erlangs."""
    root = GRID_STEP * index
    return root * root


def index_of_load(load: float) -> int:
    """The index of the nearest load on the grid."""
    return round(math.sqrt(load) / GRID_STEP)


class RateEstimate(Value, frozen=True):
    """Requests and the seconds in which they arrived, both decayed."""

    requests: float = 0.0
    time_s: float = 0.0


class LoadMixture(Value, frozen=True, kw_only=True):
    """The models of the load, and their weights."""

    rates: tuple[RateEstimate, ...] = (RateEstimate(),) * len(RATE_WINDOWS_S)
    histories: tuple[LoadDistribution, ...] = ({},) * len(HISTORY_WINDOWS_S)
    # Of each rate, each history and the uninformative model, in this order: the weight now, ...
    weights: tuple[float, ...] = (1.0, *(0.0,) * (len(RATE_WINDOWS_S) + len(HISTORY_WINDOWS_S) + 1))
    # ... and its average over a long time.
    prior_weights: tuple[float, ...] = (
        *(0.87 / len(RATE_WINDOWS_S),) * len(RATE_WINDOWS_S),
        *(0.01,) * (len(HISTORY_WINDOWS_S) + 1),
        0.1,
    )
    unforeseen: float = 0.0  # probability that the last count followed from nothing known before

    @property
    def expected_duration_s(self) -> float:
        """Seconds for which the present load has lasted, according to the weighted rate
        estimates."""
        return MIN_DURATION_S + sum(
            [
                weight * window_s
                for weight, window_s in zip(self.weights, RATE_WINDOWS_S, strict=False)
            ]
        )

    @property
    def recurring_weight(self) -> float:
        """The weight of rates that recur, while the load recurs."""
        return self.weights[-1]

    @property
    def rate_per_s(self) -> float:
        """Arrival rate, according to the weighted rate estimates."""
        mean = total = 0.0
        for weight, rate in zip(self.weights, self.rates, strict=False):
            if rate.time_s > 0.0:
                mean += weight * rate.requests / rate.time_s
                total += weight
        return mean / total if total > 0.0 else 0.0


def updated(
    known: LoadMixture,
    arrivals: int,
    interval_s: float,
    service_time_s: float,
    dispersion: float,
    recurring: Sequence[ExpectedRate] = (),
) -> LoadMixture:
    """The mixture after a count of `arrivals` in an interval.

    Args:
        dispersion: variance of arrival counts over their mean, at least 1: that many requests carry
            the information of one independent arrival.
        recurring: the rates to expect in the interval if the load recurs; empty: it does not.
    """
    weights = _posterior_weights(known, arrivals, interval_s, service_time_s, dispersion, recurring)
    prior_weights = tuple(
        [
            prior + PRIOR_LEARNING_RATE * (weight - prior)
            for prior, weight in zip(known.prior_weights, weights, strict=True)
        ]
    )
    if (excess := prior_weights[-1] - MAX_PRIOR_RECURRING) > 0.0:
        others = 1.0 - prior_weights[-1]
        kept = (others + excess) / others if others > 0.0 else 0.0
        prior_weights = (
            *[kept * prior for prior in prior_weights[:-1]],
            MAX_PRIOR_RECURRING,
        )
    contradicted = bool(recurring) and weights[-1] < CONTRADICTED * known.weights[-1]
    # After a jump, the last interval is the only evidence of the new load.
    rate_count = len(RATE_WINDOWS_S)
    unforeseen, jumped = weights[-2], sum(weights[rate_count:-1])
    weights = (
        weights[0] + jumped,
        *weights[1:rate_count],
        *(0.0,) * (len(weights) - rate_count - 1),
        weights[-1],
    )
    rates = tuple(
        [
            _decayed(rate, window_s, arrivals, interval_s)
            for rate, window_s in zip(known.rates, RATE_WINDOWS_S, strict=True)
        ]
    )
    present = _present(rates, weights, service_time_s, dispersion)
    return LoadMixture(
        rates=rates,
        histories=tuple(
            [
                _mixed(past, present, -math.expm1(-interval_s / window_s))
                for past, window_s in zip(known.histories, HISTORY_WINDOWS_S, strict=True)
            ]
        ),
        weights=_switched(weights, prior_weights, contradicted),
        prior_weights=prior_weights,
        unforeseen=unforeseen,
    )


def _switched(
    weights: tuple[float, ...], priors: tuple[float, ...], contradicted: bool
) -> tuple[float, ...]:
    """The weights after a part has moved to the prior ones. What recurs gets none of it while the
    counts contradict it: a job that does not come is not expected for as long as it usually runs.
    """
    if contradicted:
        others = 1.0 - priors[-1]
        priors = (*[prior / others for prior in priors[:-1]], 0.0)
    return tuple(
        [
            weight + SWITCHING_RATE * (prior - weight)
            for weight, prior in zip(weights, priors, strict=True)
        ]
    )


def predicted(
    known: LoadMixture,
    service_time_s: float,
    dispersion: float,
    recurring: Sequence[ExpectedRate] = (),
) -> LoadDistribution:
    """The loads to expect in the next interval, with their probabilities."""
    loads = _present(known.rates, known.weights, service_time_s, dispersion)
    rate_count = len(RATE_WINDOWS_S)
    for weight, past in zip(known.weights[rate_count:], known.histories, strict=False):
        for index, probability in past.items():
            loads[index] = loads.get(index, 0.0) + weight * probability
    for each in recurring:
        load = each.rate_per_s * service_time_s
        stddev = math.sqrt(
            load * load * each.relative_variance + load * service_time_s * dispersion / SLOT_S
        )
        weight = known.weights[-1] * each.probability
        for score, probability in _NODES:
            _add(loads, max(0.0, load + score * stddev), weight * probability)
    total = sum(loads.values())
    return {index: weight / total for index, weight in loads.items() if weight > NEGLIGIBLE * total}


def limited(loads: LoadDistribution, most: float) -> LoadDistribution:
    """The same, with the loads above a limit at that limit."""
    last = index_of_load(most)
    if max(loads) <= last:
        return loads
    found: dict[int, float] = {}
    for index, weight in loads.items():
        nearest = min(index, last)
        found[nearest] = found.get(nearest, 0.0) + weight
    return found


def mean_and_spread(loads: LoadDistribution) -> tuple[float, float]:
    """The mean and the standard deviation of the loads to expect, in erlangs."""
    mean = square = 0.0
    for index, weight in loads.items():
        load = load_of_index(index)
        mean += weight * load
        square += weight * load * load
    return mean, math.sqrt(max(0.0, square - mean * mean))


def _posterior_weights(
    known: LoadMixture,
    arrivals: int,
    interval_s: float,
    service_time_s: float,
    dispersion: float,
    recurring: Sequence[ExpectedRate],
) -> tuple[float, ...]:
    """The weights of the models after a count, by Bayes' rule."""
    count = arrivals / dispersion
    log_factorial = math.lgamma(count + 1.0)
    likelihoods = [
        _likelihood_of_rate(rate, count, interval_s, dispersion, log_factorial)
        for rate in known.rates
    ]
    per_erlang = interval_s / (dispersion * service_time_s)
    likelihoods += [
        _likelihood_in_history(past, count, per_erlang, log_factorial) for past in known.histories
    ]
    likelihoods.append(1.0 / (_UNKNOWN_NORMALISER * (count + 1.0)))
    products = [
        weight * likelihood for weight, likelihood in zip(known.weights, likelihoods, strict=False)
    ]
    asleep = known.weights[-1]
    if recurring:
        likelihood = sum(
            [
                each.probability
                * _likelihood_at_rate(each, count, interval_s, dispersion, log_factorial)
                for each in recurring
            ]
        )
        products.append(asleep * likelihood)
        asleep = 0.0
    total = sum(products)
    if total <= 0.0:
        return (*(0.0,) * (len(likelihoods) - 1), 1.0 - asleep, asleep)
    posterior = [product / total * (1.0 - asleep) for product in products]
    return (*posterior, *((asleep,) if not recurring else ()))


def _likelihood_at_rate(
    expected: ExpectedRate, count: float, interval_s: float, dispersion: float, log_factorial: float
) -> float:
    """The probability of a count at a rate that is known only roughly, as that of a single slot
    is: a negative binomial distribution."""
    mean = expected.rate_per_s * interval_s / dispersion
    noise = dispersion / max(1.0, expected.rate_per_s * SLOT_S)
    shape = 1.0 / (expected.relative_variance + noise)
    mean = max(mean, 0.1)
    return _exp(
        math.lgamma(count + shape)
        - math.lgamma(shape)
        - log_factorial
        + shape * math.log(shape / (shape + mean))
        + count * math.log(mean / (shape + mean))
    )


def _likelihood_of_rate(
    rate: RateEstimate, count: float, interval_s: float, dispersion: float, log_factorial: float
) -> float:
    """The probability of a count, at a rate estimated from earlier counts: a negative binomial
    distribution."""
    if rate.time_s <= 0.0:
        return 0.0
    shape = rate.requests / dispersion + 0.5
    total_s = rate.time_s + interval_s
    return _exp(
        math.lgamma(count + shape)
        - math.lgamma(shape)
        - log_factorial
        + shape * math.log(rate.time_s / total_s)
        + count * math.log(interval_s / total_s)
    )


def _exp(logarithm: float) -> float:
    """A probability from its logarithm, which rounding may make positive for the largest counts."""
    return math.exp(min(0.0, logarithm))


def _likelihood_in_history(
    past: LoadDistribution, count: float, per_erlang: float, log_factorial: float
) -> float:
    """The probability of a count, at one of the past loads: a mixture of Poisson distributions."""
    root, likelihood = math.sqrt(count), 0.0
    for index, weight in past.items():
        mean = load_of_index(index) * per_erlang
        if abs(math.sqrt(mean) - root) < 3.0:  # six standard deviations
            logarithm = count * math.log(mean) - mean if mean > 0.0 else -count
            likelihood += weight * _exp(logarithm - log_factorial)
    return likelihood


def _decayed(rate: RateEstimate, window_s: float, arrivals: int, interval_s: float) -> RateEstimate:
    kept = math.exp(-interval_s / window_s) if window_s > 0.0 else 0.0
    return RateEstimate(kept * rate.requests + arrivals, kept * rate.time_s + interval_s)


def _present(
    rates: Iterable[RateEstimate],
    weights: Iterable[float],
    service_time_s: float,
    dispersion: float,
) -> dict[int, float]:
    """The distribution of the load according to the rate estimates."""
    loads: dict[int, float] = {}
    for weight, rate in zip(weights, rates, strict=False):
        if weight < NEGLIGIBLE or rate.time_s <= 0.0:
            continue
        shape = rate.requests / dispersion + 0.5
        load = shape * dispersion / rate.time_s * service_time_s
        stddev = load * max(MIN_SPREAD, 1.0 / math.sqrt(shape))
        for score, probability in _NODES:
            _add(loads, max(0.0, load + score * stddev), weight * probability)
    return loads


def _add(loads: dict[int, float], load: float, weight: float) -> None:
    """Divides the probability between the two nearest loads on the grid."""
    position = math.sqrt(load) / GRID_STEP
    index = int(position)
    above = weight * (position - index)
    loads[index] = loads.get(index, 0.0) + weight - above
    loads[index + 1] = loads.get(index + 1, 0.0) + above


def _mixed(past: LoadDistribution, present: LoadDistribution, fraction: float) -> LoadDistribution:
    total = sum(present.values())
    mixed = {index: (1.0 - fraction) * weight for index, weight in past.items()}
    for index, weight in present.items():
        mixed[index] = mixed.get(index, 0.0) + fraction * weight / total
    mixed = {index: weight for index, weight in mixed.items() if weight > PAST_NEGLIGIBLE}
    if len(mixed) > MAX_PAST_LOADS:
        least = sorted(mixed.values())[-MAX_PAST_LOADS]
        mixed = {index: weight for index, weight in mixed.items() if weight >= least}
    return mixed
