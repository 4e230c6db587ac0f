"""A queueing model of queue waits and late requests.

Loads are in erlangs, and times in units of the mean service time. `variability` is the factor by
which arrivals and service times that are not Poisson and exponential extend a queue wait: half the
sum of the squared coefficients of variation of the times between arrivals and of the service times
(Allen and Cunneen; Allen, Probability, Statistics and Queueing Theory, 1990).

Elasticsearch has a queue on each node and sends each request to a node at random, weighted by its
allocations. So a deployment has as many queues as nodes. `per_node` contains the allocations of
each. The load of each node is proportional to its allocations, and waits are longer on a node with
few allocations than on one with many.
"""

import math
from math import erfc, exp, log, sqrt

_TIME_POINTS = (0.125, 0.375, 0.625, 0.875)
"""Points of a time span, as fractions, for an average over it."""

_CONVERGED = 0.999
"""A queue whose distribution has reached this fraction of the stationary one is treated as
stationary from then on."""

_LOG_NEGLIGIBLE = math.log(1e-9)
"""log(1e-9). A smaller fraction is returned as 0 without further computation, which is the case for
most pairs of load and allocations."""

_SQRT_2 = math.sqrt(2.0)
_SQRT_2_PI = math.sqrt(2.0 * math.pi)

MAX_RECURSION = 64
"""Servers up to which Erlang's formula is computed exactly, in as many steps. The closed form for
more is accurate to a thousandth, and takes the same time for any number of servers."""

_CERTAIN_SCORE, _NEGLIGIBLE_SCORE = 6.0, -6.5
"""Scores from which on the standard normal distribution function is taken as 1 or as 0: it differs
by less than one in a billion."""


def waiting_probability(servers: int, load: float) -> float:
    """The probability that a request is queued, with `servers` for one queue: Erlang's C.

    Computed by the recursion of Erlang's B, which is stable for any number of servers; for many of
    them by the asymptote for large numbers (A. J. E. M. Janssen, J. S. H. van Leeuwaarden and B.
    Zwart, Refining Square-Root Safety Staffing by Expanding Erlang C, 2011).

    >>> round(waiting_probability(4, 3.2), 4)
    0.5964
    >>> waiting_probability(4, 4.0)
    1.0
    >>> round(waiting_probability(64, 56.0), 4), round(waiting_probability(65, 56.9), 4)
    (0.2151, 0.2134)
    """
    if load >= servers:
        return 1.0
    if servers > MAX_RECURSION:
        return _waiting_probability_of_many(servers, load)
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def _waiting_probability_of_many(servers: int, load: float) -> float:
    utilisation = load / servers
    exponent = servers * (1.0 - utilisation + math.log(utilisation)) if load > 0.0 else -math.inf
    if exponent < _LOG_NEGLIGIBLE:
        return 0.0
    density = math.exp(exponent) / _SQRT_2_PI
    ratio = _normal(math.sqrt(max(0.0, -2.0 * exponent))) / density
    root = math.sqrt(servers)
    return 1.0 / (utilisation + (servers - load) / root * (ratio + 2.0 / (3.0 * root)))


def violation_fraction(servers: int, load: float, limit: float, variability: float) -> float:
    """The stationary fraction of requests whose queue wait exceeds `limit`, in one queue.

    Exact for M/M/c. `variability` extends the wait of queued requests; the probability of waiting
    does not depend on it.

    >>> round(violation_fraction(5, 3.2, 2.0, 1.0), 4)
    0.0079
    """
    if load >= servers:
        return 1.0
    probability = waiting_probability(servers, load)
    return probability * math.exp(-(servers - load) * limit / variability)


def violation_fraction_within(
    servers: int, load: float, limit: float, variability: float, horizon: float
) -> float:
    """The fraction of requests whose queue wait exceeds `limit`, within `horizon` after the queue
    was empty.

    The stationary fraction is scaled by how far the queue can have built up by then. For that, the
    queued work is modelled as a reflected Brownian motion with the drift `load - servers` and the
    variance `2 load variability`, whose distribution at an instant is known (Harrison, Brownian
    Motion and Stochastic Flow Systems, 1985, section 1.8). In an overload, that distribution is the
    result itself. Less than one in a billion is returned as 0.

    >>> round(violation_fraction_within(5, 4.0, 2.0, 1.0, horizon=10.0), 3)
    0.023
    >>> round(violation_fraction(5, 4.0, 2.0, 1.0), 3)
    0.075
    """
    level = limit * servers  # of work, from which on a wait is too long
    drift, variance = load - servers, max(2.0 * load * variability, 1e-9)
    if drift * limit < _LOG_NEGLIGIBLE * variability:
        return 0.0
    if drift >= 0.0:
        return _overload_fraction(level, drift, variance, horizon)
    return violation_fraction(servers, load, limit, variability) * _build_up_ratio(
        level, drift, variance, horizon
    )


def _overload_fraction(level: float, drift: float, variance: float, horizon: float) -> float:
    """The probability that a motion reflected at 0, where it starts, is above `level`: the mean
    over the horizon."""
    total, mirror, remaining = 0.0, 2.0 * drift * level / variance, len(_TIME_POINTS)
    for point in _TIME_POINTS:
        time = point * horizon
        deviation, excess = sqrt(variance * time), drift * time - level
        if excess > _CERTAIN_SCORE * deviation:
            break  # certainly above from now on
        remaining -= 1
        if excess < _NEGLIGIBLE_SCORE * deviation:
            continue
        mirrored = _log_normal((-level - drift * time) / deviation) + mirror
        fraction = 0.5 * erfc(-excess / deviation / _SQRT_2)
        fraction += exp(mirrored) if mirrored < 0.0 else 1.0
        total += min(1.0, fraction)
    return (total + remaining) / len(_TIME_POINTS)


def violation_fraction_by_backlog(
    servers: int, load: float, limit: float, variability: float, horizon: float, backlog: float
) -> float:
    """The fraction of requests whose queue wait exceeds `limit` within `horizon` because there was
    a backlog at its beginning, in addition to `violation_fraction_within`.

    By the same motion, which begins at the backlog instead of 0.

    Args:
        backlog: queued work, in mean service times.

    >>> round(violation_fraction_by_backlog(5, 4.0, 2.0, 1.0, horizon=10.0, backlog=30.0), 2)
    0.95
    >>> violation_fraction_by_backlog(5, 4.0, 2.0, 1.0, horizon=10.0, backlog=0.0)
    0.0
    """
    level = limit * servers
    drift, variance = load - servers, max(2.0 * load * variability, 1e-9)
    with_backlog, without = [
        _mean_exceedance(level, drift, variance, horizon, begin) for begin in (backlog, 0.0)
    ]
    return max(0.0, with_backlog - without)


def _mean_exceedance(
    level: float, drift: float, variance: float, horizon: float, begin: float
) -> float:
    """The probability that a reflected motion is above `level`: the mean over the horizon."""
    total, mirror = 0.0, 2.0 * drift * level / variance
    for point in _TIME_POINTS:
        time = point * horizon
        deviation = sqrt(variance * time)
        fraction = 0.5 * erfc((level - begin - drift * time) / deviation / _SQRT_2)
        mirrored = _log_normal((-level - begin - drift * time) / deviation) + mirror
        fraction += exp(mirrored) if mirrored < 0.0 else 1.0
        total += min(1.0, fraction)
    return total / len(_TIME_POINTS)


def _build_up_ratio(level: float, drift: float, variance: float, horizon: float) -> float:
    """The same for a negative drift, divided by its stationary value, which may be close to 0.

    It only grows with time.
    """
    total, mirror, remaining = 0.0, -2.0 * drift * level / variance, len(_TIME_POINTS)
    for point in _TIME_POINTS:
        time = point * horizon
        deviation = math.sqrt(variance * time)
        passed = _log_normal((drift * time - level) / deviation) + mirror
        ratio = exp(passed) if passed < 0.0 else 1.0
        ratio += 0.5 * erfc((level + drift * time) / deviation / _SQRT_2)
        if ratio > _CONVERGED:
            return (total + remaining) / len(_TIME_POINTS)
        total += ratio
        remaining -= 1
    return total / len(_TIME_POINTS)


def _normal(score: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * erfc(-score / _SQRT_2)


def _log_normal(score: float) -> float:
    """The logarithm of the standard normal distribution function; the tail's asymptote where the
    function itself is too small."""
    if score > -8.0:
        return log(0.5 * erfc(-score / _SQRT_2))
    return -0.5 * score * score - math.log(-score * math.sqrt(2.0 * math.pi))


def wait_quantile(
    per_node: tuple[int, ...], load: float, target: float, variability: float
) -> float:
    """The queue wait that the fraction `target` of the requests does not exceed in the long run;
    inf in an overload.

    The longest of all nodes: the one of the node with the fewest allocations, which is the first.

    >>> wait_quantile((20,), 10.0, 0.99, 1.0)
    0.0
    >>> round(wait_quantile((4,), 3.2, 0.99, 1.0), 2)
    5.11
    """
    servers = per_node[0]
    node_load = load * servers / sum(per_node)
    if node_load >= servers:
        return math.inf
    probability = waiting_probability(servers, node_load)
    if probability <= 1.0 - target:
        return 0.0
    return variability / (servers - node_load) * math.log(probability / (1.0 - target))


def violation_probability(in_flight: int, servers: int, limit: float, service_scv: float) -> float:
    """The probability that a request which finds `in_flight` others waits longer than `limit`.

    It waits until all but `servers - 1` of them have been served. The number served by then is
    approximately normal, with the mean `servers * limit`; each contributes the variance
    `service_scv` (the squared coefficient of variation of the service time).

    >>> violation_probability(3, 4, 2.0, 1.0)
    0.0
    >>> round(violation_probability(12, 4, 2.0, 1.0), 2)
    0.57
    """
    ahead = in_flight - servers + 1
    if ahead <= 0:
        return 0.0
    served = servers * limit
    if served <= 0.0:
        return 1.0
    return _normal((ahead - 0.5 - served) / math.sqrt(served * max(service_scv, 0.05)))
