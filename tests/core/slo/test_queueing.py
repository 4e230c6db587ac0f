"""The queueing formulas, compared with known values, exact sums and simulated queues."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.slo.queueing import (
    MAX_RECURSION,
    violation_fraction,
    violation_fraction_by_backlog,
    violation_fraction_within,
    violation_probability,
    wait_quantile,
    waiting_probability,
)

servers_counts = st.integers(1, 60)
utilisations = st.floats(0.01, 0.99)
limits = st.floats(0.0, 20.0, allow_subnormal=False)
variabilities = st.floats(0.5, 10.0)
horizons = st.floats(0.5, 1000.0)


def simulated(servers, load, limit, horizon, *, runs=3000):
    """The fraction of requests before the horizon that wait longer, from an empty queue.

    Many queues at once, each represented by the instants at which its servers become free.
    """
    rng = np.random.default_rng([servers, runs])
    free, now = np.zeros((runs, servers)), np.zeros(runs)
    violations = requests = 0
    while (inside := (now := now + rng.exponential(1.0 / load, runs)) < horizon).any():
        begins = np.maximum(now, free[:, 0])
        violations += int((inside & (begins - now > limit)).sum())
        requests += int(inside.sum())
        free[:, 0] = begins + rng.exponential(1.0, runs)
        free.sort(axis=1)
    return violations / requests


class TestErlangC:
    @pytest.mark.parametrize(
        ("servers", "load", "probability"),
        [
            (1, 0.5, 0.5),
            (2, 1.0, 1 / 3),
            (3, 2.0, 4 / 9),
            (4, 3.2, 0.5964),
            (10, 8.0, 0.4092),
            (5, 4.0, 0.5541),
        ],
    )
    def test_known_values(self, servers, load, probability):
        assert waiting_probability(servers, load) == pytest.approx(probability, abs=5e-5)

    @given(st.integers(1, 30), utilisations)
    def test_it_equals_the_defining_sum(self, servers, utilisation):
        load = utilisation * servers
        terms = [load**count / math.factorial(count) for count in range(servers)]
        waiting = load**servers / math.factorial(servers) / (1.0 - utilisation)
        assert waiting_probability(servers, load) == pytest.approx(waiting / (sum(terms) + waiting))

    @given(servers_counts, utilisations)
    def test_it_falls_with_the_servers(self, servers, utilisation):
        load = utilisation * servers
        assert waiting_probability(servers + 1, load) < waiting_probability(servers, load)

    @given(servers_counts, utilisations, utilisations)
    def test_it_rises_with_the_load(self, servers, one, other):
        less, more = sorted((one, other))
        assert waiting_probability(servers, less * servers) <= waiting_probability(
            servers, more * servers
        )

    def test_without_load_it_is_zero(self):
        assert waiting_probability(3, 0.0) == 0.0

    def test_it_is_stable_for_many_servers(self):
        """By the limit of Halfin and Whitt, with a reserve of one square root."""
        for load in (10_000.0, 250_000.0):
            servers = round(load + math.sqrt(load))
            assert waiting_probability(servers, load) == pytest.approx(0.223, abs=0.005)


class TestManyServers:
    @staticmethod
    def recursive(servers, load):
        blocked = 1.0
        for count in range(1, servers + 1):
            blocked = load * blocked / (count + load * blocked)
        return blocked / (1.0 - load / servers * (1.0 - blocked))

    @pytest.mark.parametrize("servers", [MAX_RECURSION + 1, 200, 2_000])
    @pytest.mark.parametrize("deviations", [0.01, 0.3, 1.0, 2.0, 4.0])
    def test_the_closed_form_is_accurate(self, servers, deviations):
        load = servers - deviations * math.sqrt(servers)
        assert waiting_probability(servers, load) == pytest.approx(
            self.recursive(servers, load), rel=0.002
        )

    @given(servers=st.integers(1, 2**53), utilisation=st.floats(0.0, 1.0))
    def test_it_is_a_probability_for_any_number(self, servers, utilisation):
        assert 0.0 <= waiting_probability(servers, utilisation * servers) <= 1.0


class TestFewestServers:
    """The fewest servers that keep a quantile of the waits within a limit, from tables."""

    @pytest.mark.parametrize(
        ("load", "fewest"),
        [
            (0.5, (2, 1, 3)),
            (1.0, (3, 2, 4)),
            (2.0, (4, 3, 5)),
            (4.0, (6, 5, 7)),
            (8.0, (11, 9, 12)),
            (16.0, (19, 17, 20)),
            (32.0, (35, 33, 36)),
        ],
    )
    def test_by_quantile(self, load, fewest):
        limits_by_target = ((0.95, 1.0), (0.95, 5.0), (0.99, 1.0))
        found = tuple(
            next(
                servers
                for servers in range(1, 100)
                if wait_quantile((servers,), load, target, 1.0) <= limit
            )
            for target, limit in limits_by_target
        )
        assert found == fewest


class TestSeveralNodes:
    @pytest.mark.parametrize(
        ("total", "nodes", "waits"),
        [
            (8, 1, ((0.11, 0.70), (0.29, 1.4), (0.88, 3.3))),
            (8, 2, ((0.36, 1.8), (0.75, 3.1), (2.0, 6.9))),
            (8, 4, ((0.96, 4.1), (1.8, 6.6), (4.3, 14.0))),
            (8, 8, ((2.3, 8.8), (4.0, 14.0), (9.0, 29.0))),
            (16, 1, ((0.03, 0.20), (0.10, 0.57), (0.37, 1.5))),
            (32, 1, ((0.00, 0.0), (0.03, 0.18), (0.14, 0.69))),
            (32, 4, ((0.11, 0.70), (0.29, 1.4), (0.88, 3.3))),
            (32, 8, ((0.36, 1.8), (0.75, 3.1), (2.0, 6.9))),
        ],
    )
    def test_waits_rise_with_the_number_of_nodes(self, total, nodes, waits):
        split = (total // nodes,) * nodes
        for utilisation, (mean, longest) in zip((0.7, 0.8, 0.9), waits, strict=True):
            load, each = utilisation * total, total // nodes
            probability = waiting_probability(each, utilisation * each)
            assert probability / (each - utilisation * each) == pytest.approx(
                mean, rel=0.04, abs=0.005
            )
            assert wait_quantile(split, load, 0.95, 1.0) == pytest.approx(
                longest, rel=0.04, abs=0.005
            )

    @given(st.lists(st.integers(1, 20), min_size=2, max_size=5), utilisations)
    def test_one_queue_is_never_worse(self, split, utilisation):
        load = utilisation * sum(split)
        pooled = wait_quantile((sum(split),), load, 0.95, 1.0)
        assert pooled <= wait_quantile(tuple(split), load, 0.95, 1.0)

    def test_in_an_overload_the_wait_is_infinite(self):
        assert wait_quantile((2, 2), 4.0, 0.9, 1.0) == math.inf


class TestViolationFraction:
    @given(servers_counts, utilisations, st.floats(0.5, 0.999), variabilities)
    def test_beyond_the_quantile_is_the_rest(self, servers, utilisation, target, variability):
        load = utilisation * servers
        wait = wait_quantile((servers,), load, target, variability)
        fraction = violation_fraction(servers, load, wait, variability)
        if wait > 0.0:
            assert fraction == pytest.approx(1.0 - target)
        else:
            assert fraction <= 1.0 - target + 1e-12

    @given(servers_counts, utilisations, limits, variabilities)
    def test_it_falls_with_servers_and_with_the_limit(
        self, servers, utilisation, limit, variability
    ):
        load = utilisation * servers
        fraction = violation_fraction(servers, load, limit, variability)
        assert violation_fraction(servers + 1, load, limit, variability) <= fraction
        assert violation_fraction(servers, load, limit + 0.5, variability) <= fraction
        assert violation_fraction(servers, load, limit, 2.0 * variability) >= fraction

    def test_in_an_overload_it_is_one(self):
        assert violation_fraction(4, 4.0, 100.0, 1.0) == 1.0


class TestViolationFractionWithin:
    @given(servers_counts, utilisations, limits, variabilities, horizons)
    def test_it_is_at_most_the_stationary_fraction(
        self, servers, utilisation, limit, variability, horizon
    ):
        load = utilisation * servers
        soon = violation_fraction_within(servers, load, limit, variability, horizon)
        assert 0.0 <= soon <= violation_fraction(servers, load, limit, variability)

    @given(servers_counts, st.floats(0.0, 4.0), limits, variabilities, horizons)
    def test_it_is_a_fraction_at_any_load(self, servers, utilisation, limit, variability, horizon):
        load = utilisation * servers
        assert 0.0 <= violation_fraction_within(servers, load, limit, variability, horizon) <= 1.0

    @given(servers_counts, st.floats(0.0, 4.0), limits, variabilities, horizons)
    def test_it_grows_with_the_horizon(self, servers, utilisation, limit, variability, horizon):
        load = utilisation * servers
        fractions = [
            violation_fraction_within(servers, load, limit, variability, times * horizon)
            for times in (1.0, 3.0, 10.0)
        ]
        assert fractions[0] <= fractions[1] + 1e-9
        assert fractions[1] <= fractions[2] + 1e-9

    @given(servers_counts, st.floats(0.1, 0.95), st.floats(0.0, 5.0), variabilities)
    def test_with_a_long_horizon_it_is_the_stationary_fraction(
        self, servers, utilisation, limit, variability
    ):
        load = utilisation * servers
        assert violation_fraction_within(servers, load, limit, variability, 1e7) == pytest.approx(
            violation_fraction(servers, load, limit, variability), rel=0.01, abs=1e-9
        )

    def test_one_in_a_billion_is_zero(self):
        assert violation_fraction(30, 8.0, 1.0, 1.0) < 1e-9
        assert violation_fraction_within(30, 8.0, 1.0, 1.0, 100.0) == 0.0

    @given(servers_counts, st.floats(1.01, 4.0), limits, variabilities)
    def test_in_a_long_overload_it_is_one(self, servers, utilisation, limit, variability):
        load = utilisation * servers
        assert violation_fraction_within(servers, load, limit, variability, 1e7) == pytest.approx(
            1.0, abs=0.01
        )

    @given(servers_counts, limits, variabilities, horizons)
    def test_it_falls_with_the_servers_at_any_load(self, servers, limit, variability, horizon):
        for load in (0.5 * servers, 0.9 * servers, 1.5 * servers + 1.0, 3.0 * servers):
            fraction = violation_fraction_within(servers, load, limit, variability, horizon)
            assert (
                violation_fraction_within(servers + 1, load, limit, variability, horizon)
                <= fraction + 1e-9
            )

    @pytest.mark.parametrize(
        ("servers", "load", "limit", "horizon"),
        [
            (1, 0.8, 2.0, 10.0),
            (1, 0.8, 2.0, 50.0),
            (2, 1.8, 1.0, 30.0),
            (3, 1.5, 2.0, 100.0),
            (4, 3.2, 2.0, 100.0),
            (4, 3.6, 2.0, 20.0),
            (5, 4.0, 2.0, 10.0),
            (10, 9.0, 2.0, 50.0),
        ],
    )
    def test_below_capacity_it_agrees_with_a_simulated_queue(self, servers, load, limit, horizon):
        """At most a quarter more, because idle servers are not modelled as filling up; not less."""
        fraction = simulated(servers, load, limit, horizon)
        soon = violation_fraction_within(servers, load, limit, 1.0, horizon)
        assert 0.95 * fraction <= soon <= 1.25 * fraction + 0.002

    @pytest.mark.parametrize(
        ("servers", "load", "limit", "horizon"),
        [
            (1, 1.2, 2.0, 20.0),
            (4, 4.0, 2.0, 50.0),
            (4, 6.0, 2.0, 25.0),
            (4, 6.0, 10.0, 25.0),
            (10, 11.0, 1.0, 20.0),
        ],
    )
    def test_in_an_overload_it_agrees_roughly(self, servers, load, limit, horizon):
        """At most 0.16 more, for the same reason; not less."""
        fraction = simulated(servers, load, limit, horizon)
        soon = violation_fraction_within(servers, load, limit, 1.0, horizon)
        assert fraction <= soon <= fraction + 0.16


class TestViolationProbability:
    @pytest.mark.parametrize("servers", [1, 2, 4, 20])
    @pytest.mark.parametrize("limit", [1.0, 2.0, 5.0, 20.0])
    def test_with_exponential_service_it_is_a_poisson_sum(self, servers, limit):
        """All servers are busy while a request waits, so the number served is Poisson distributed.
        It waits too long if fewer are served than are ahead of it."""
        mean = servers * limit
        tolerance = 0.5 / math.sqrt(mean) * 0.2 + 0.01
        exact = 0.0
        for ahead in range(1, round(mean + 6.0 * math.sqrt(mean)) + 2):
            exact += math.exp((ahead - 1) * math.log(mean) - mean - math.lgamma(ahead))
            found = violation_probability(servers - 1 + ahead, servers, limit, 1.0)
            assert found == pytest.approx(exact, abs=tolerance)

    @given(st.integers(0, 300), servers_counts, limits, st.floats(0.0, 5.0))
    def test_it_rises_with_the_requests_in_flight(self, in_flight, servers, limit, service_scv):
        probability = violation_probability(in_flight, servers, limit, service_scv)
        assert (
            0.0
            <= probability
            <= violation_probability(in_flight + 1, servers, limit, service_scv)
            <= 1.0
        )

    @given(st.integers(0, 300), servers_counts, limits)
    def test_it_falls_with_the_limit(self, in_flight, servers, limit):
        probability = violation_probability(in_flight, servers, limit, 1.0)
        assert violation_probability(in_flight, servers, limit + 1.0, 1.0) <= probability + 1e-12

    def test_at_a_free_server_it_is_zero(self):
        assert violation_probability(3, 4, 0.0, 1.0) == 0.0

    def test_with_a_limit_of_zero_every_queued_request_violates_it(self):
        assert violation_probability(4, 4, 0.0, 1.0) == 1.0


@pytest.mark.parametrize(("backlog", "horizon"), [(10.0, 20.0), (4.0, 20.0), (10.0, 3.0)])
def test_a_backlog_at_a_load_of_all_servers_drains_as_a_reflected_motion_without_drift(
    backlog, horizon
):
    """Which is the absolute value of a motion that is not reflected."""
    level, variance, instants = 2.0 * 4, 2.0 * 4.0, 1000

    def late(begin):
        found = 0.0
        for number in range(instants):
            deviation = math.sqrt(variance * horizon * (number + 0.5) / instants)
            motion = NormalDist(begin, deviation)
            found += 1.0 - motion.cdf(level) + motion.cdf(-level)
        return found / instants

    fraction = violation_fraction_by_backlog(4, 4.0, 2.0, 1.0, horizon, backlog)
    assert fraction == pytest.approx(late(backlog) - late(0.0), abs=0.03)
