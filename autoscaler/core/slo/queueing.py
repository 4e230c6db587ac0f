"""How long requests wait, by queueing theory.

Loads are in erlangs, and times in units of the mean service time. `variability` is the factor by
which arrivals and services that are not Poisson and exponential stretch a wait: half the sum of the
squared coefficients of variation of the times between arrivals and of the service times (Allen and
Cunneen; Allen, Probability, Statistics and Queueing Theory, 1990).

Elasticsearch has a queue on each node and sends each request to a node at random, weighted by the
allocations there. So a deployment is as many queues as it has nodes: a `split` is the number of
allocations on each. Each gets a share of the load in proportion, and few allocations make a worse
queue of their share than many.
"""

import math

_TIME_POINTS = (0.125, 0.375, 0.625, 0.875)
"""Of a stretch of time, for an average over it."""

_CONVERGED = 0.999
"""A motion that has come so far has come all the way, and stays there."""

_LOG_NEGLIGIBLE = math.log(1e-9)
"""The logarithm of a share that is as good as 0. Most are: of the loads and numbers that are
compared, the most are far apart, and that is quick to see."""

_SQRT_2 = math.sqrt(2.0)


def waiting_probability(servers: int, load: float) -> float:
    """The chance that a request has to wait, with `servers` before one queue: Erlang's C.

    By the recursion of his B, which is stable for any number of servers.

    >>> round(waiting_probability(4, 3.2), 4)
    0.5964
    >>> waiting_probability(4, 4.0)
    1.0
    """
    if load >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def violation_fraction(servers: int, load: float, limit: float, variability: float) -> float:
    """The share of requests that wait longer than `limit` before one queue in the long run.

    Exact for M/M/c. The wait of those that wait is stretched by `variability`; the chance of
    waiting is kept.

    >>> round(late_share(5, 3.2, 2.0, 1.0), 4)
    0.0079
    """
    if load >= servers:
        return 1.0
    chance = waiting_probability(servers, load)
    return chance * math.exp(-(servers - load) * limit / variability)


def violation_fraction_within(
    servers: int, load: float, limit: float, variability: float, horizon: float
) -> float:
    """The share that waits longer than `limit` within `horizon` after the queue was empty.

    What the long run says is scaled by how far the queue can have come by then. For that, the work
    that waits is taken for a reflected Brownian motion with the drift `load - servers` and the
    variance `2 load variability`, whose law at an instant is known (Harrison, Brownian Motion and
    Stochastic Flow Systems, 1985, section 1.8). Beyond the servers' capacity it is all there is.
    Less than one in a billion is none.

    >>> round(late_share_soon(5, 4.0, 2.0, 1.0, horizon=10.0), 3)
    0.023
    >>> round(late_share(5, 4.0, 2.0, 1.0), 3)
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
    """The chance that a motion reflected at 0, where it began, is beyond `level`: the mean over the
    horizon."""
    total, mirror = 0.0, 2.0 * drift * level / variance
    for moment in _TIME_POINTS:
        time = moment * horizon
        deviation = math.sqrt(variance * time)
        mirrored = _log_normal((-level - drift * time) / deviation) + mirror
        passed = _normal((drift * time - level) / deviation)
        total += min(1.0, passed + math.exp(min(0.0, mirrored)))
    return total / len(_TIME_POINTS)


def _build_up_ratio(level: float, drift: float, variance: float, horizon: float) -> float:
    """The same with a drift below 0, over what it is in the long run, which may be next to 0.

    With time it only grows.
    """
    total, mirror, later = 0.0, -2.0 * drift * level / variance, len(_TIME_POINTS)
    for moment in _TIME_POINTS:
        time = moment * horizon
        deviation = math.sqrt(variance * time)
        passed = _log_normal((drift * time - level) / deviation) + mirror
        come = math.exp(min(0.0, passed)) + _normal((-level - drift * time) / deviation)
        if come > _CONVERGED:
            return (total + later) / len(_TIME_POINTS)
        total += come
        later -= 1
    return total / len(_TIME_POINTS)


def _normal(score: float) -> float:
    """The standard normal law."""
    return 0.5 * math.erfc(-score / _SQRT_2)


def _log_normal(score: float) -> float:
    """Its logarithm, by the tail's asymptote where the law itself is as good as 0."""
    if score > -8.0:
        return math.log(_normal(score))
    return -0.5 * score * score - math.log(-score * math.sqrt(2.0 * math.pi))


def wait_quantile(split: tuple[int, ...], load: float, share: float, variability: float) -> float:
    """The wait that `share` of the requests do not exceed in the long run; inf in an overload.

    That of the node where it is longest: with few allocations, that is the smallest.

    >>> wait_quantile((20,), 10.0, 0.99, 1.0)
    0.0
    >>> round(wait_quantile((4,), 3.2, 0.99, 1.0), 2)
    5.11
    """
    total, longest = sum(split), 0.0
    for servers in split:
        own = load * servers / total
        if own >= servers:
            return math.inf
        chance = waiting_probability(servers, own)
        if chance > 1.0 - share:
            wait = variability / (servers - own) * math.log(chance / (1.0 - share))
            longest = max(longest, wait)
    return longest


def violation_probability(in_system: int, servers: int, limit: float, service_scv: float) -> float:
    """The chance that a request which finds so many in the system waits longer than `limit`.

    It waits until all but `servers - 1` of them have been served. How many are served meanwhile is
    about normal, with the mean `servers * limit`, of which `service_scv` (the squared coefficient
    of variation of the service time) is the variance of each.

    >>> late_chance(3, 4, 2.0, 1.0)
    0.0
    >>> round(late_chance(12, 4, 2.0, 1.0), 2)
    0.57
    """
    ahead = in_system - servers + 1
    if ahead <= 0:
        return 0.0
    served = servers * limit
    if served <= 0.0:
        return 1.0
    return _normal((ahead - 0.5 - served) / math.sqrt(served * max(service_scv, 0.05)))
