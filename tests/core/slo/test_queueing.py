"""Waits by formula, held against known values, exact sums and simulated queues."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.slo.queueing import (
    violation_fraction,
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
    """The share of requests that wait longer, of those before the horizon, from an empty queue.

    Many queues at once, each as the instants at which its servers are free.
    """
    rng = np.random.default_rng([servers, runs])
    free, now = np.zeros((runs, servers)), np.zeros(runs)
    late = requests = 0
    while (inside := (now := now + rng.exponential(1.0 / load, runs)) < horizon).any():
        begins = np.maximum(now, free[:, 0])
        late += int((inside & (begins - now > limit)).sum())
        requests += int(inside.sum())
        free[:, 0] = begins + rng.exponential(1.0, runs)
        free.sort(axis=1)
    return late / requests


class TestErlangC:
    @pytest.mark.parametrize(
        ("servers", "load", "chance"),
        [
            (1, 0.5, 0.5),
            (2, 1.0, 1 / 3),
            (3, 2.0, 4 / 9),
            (4, 3.2, 0.5964),
            (10, 8.0, 0.4092),
            (5, 4.0, 0.5541),
        ],
    )
    def test_known_values(self, servers, load, chance):
        assert waiting_probability(servers, load) == pytest.approx(chance, abs=5e-5)

    @given(st.integers(1, 30), utilisations)
    def test_it_is_the_sum_by_which_it_is_defined(self, servers, utilisation):
        load = utilisation * servers
        terms = [load**number / math.factorial(number) for number in range(servers)]
        waiting = load**servers / math.factorial(servers) / (1.0 - utilisation)
        assert waiting_probability(servers, load) == pytest.approx(waiting / (sum(terms) + waiting))

    @given(servers_counts, utilisations)
    def test_more_servers_make_fewer_wait(self, servers, utilisation):
        load = utilisation * servers
        assert waiting_probability(servers + 1, load) < waiting_probability(servers, load)

    @given(servers_counts, utilisations, utilisations)
    def test_more_load_makes_more_wait(self, servers, one, other):
        less, more = sorted((one, other))
        assert waiting_probability(servers, less * servers) <= waiting_probability(
            servers, more * servers
        )

    def test_with_nothing_to_do_nobody_waits(self):
        assert waiting_probability(3, 0.0) == 0.0

    def test_it_is_stable_for_many_servers(self):
        """By the law of Halfin and Whitt, with one square root to spare."""
        for load in (10_000.0, 250_000.0):
            servers = round(load + math.sqrt(load))
            assert waiting_probability(servers, load) == pytest.approx(0.223, abs=0.005)


class TestSmallestNumbers:
    """The fewest servers that keep a percentile of the waits, as tables have them."""

    @pytest.mark.parametrize(
        ("load", "numbers"),
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
    def test_by_percentile(self, load, numbers):
        promises = ((0.95, 1.0), (0.95, 5.0), (0.99, 1.0))
        found = tuple(
            next(
                servers
                for servers in range(1, 100)
                if wait_quantile((servers,), load, share, 1.0) <= limit
            )
            for share, limit in promises
        )
        assert found == numbers


class TestSplits:
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
    def test_the_same_servers_on_more_nodes_make_longer_waits(self, total, nodes, waits):
        split = (total // nodes,) * nodes
        for utilisation, (mean, longest) in zip((0.7, 0.8, 0.9), waits, strict=True):
            load, each = utilisation * total, total // nodes
            chance = waiting_probability(each, utilisation * each)
            assert chance / (each - utilisation * each) == pytest.approx(mean, rel=0.04, abs=0.005)
            assert wait_quantile(split, load, 0.95, 1.0) == pytest.approx(
                longest, rel=0.04, abs=0.005
            )

    @given(st.lists(st.integers(1, 20), min_size=2, max_size=5), utilisations)
    def test_one_queue_is_never_worse(self, split, utilisation):
        load = utilisation * sum(split)
        pooled = wait_quantile((sum(split),), load, 0.95, 1.0)
        assert pooled <= wait_quantile(tuple(split), load, 0.95, 1.0)

    def test_an_overload_is_waited_for_without_end(self):
        assert wait_quantile((2, 2), 4.0, 0.9, 1.0) == math.inf


class TestLateShare:
    @given(servers_counts, utilisations, st.floats(0.5, 0.999), variabilities)
    def test_the_quantile_is_where_just_the_rest_is_late(
        self, servers, utilisation, share, variability
    ):
        load = utilisation * servers
        wait = wait_quantile((servers,), load, share, variability)
        late = violation_fraction(servers, load, wait, variability)
        if wait > 0.0:
            assert late == pytest.approx(1.0 - share)
        else:
            assert late <= 1.0 - share + 1e-12

    @given(servers_counts, utilisations, limits, variabilities)
    def test_it_falls_with_servers_and_with_the_limit(
        self, servers, utilisation, limit, variability
    ):
        load = utilisation * servers
        late = violation_fraction(servers, load, limit, variability)
        assert violation_fraction(servers + 1, load, limit, variability) <= late
        assert violation_fraction(servers, load, limit + 0.5, variability) <= late
        assert violation_fraction(servers, load, limit, 2.0 * variability) >= late

    def test_beyond_capacity_everybody_is_late(self):
        assert violation_fraction(4, 4.0, 100.0, 1.0) == 1.0


class TestLateShareSoon:
    @given(servers_counts, utilisations, limits, variabilities, horizons)
    def test_it_is_never_more_than_in_the_long_run(
        self, servers, utilisation, limit, variability, horizon
    ):
        load = utilisation * servers
        soon = violation_fraction_within(servers, load, limit, variability, horizon)
        assert 0.0 <= soon <= violation_fraction(servers, load, limit, variability)

    @given(servers_counts, st.floats(0.0, 4.0), limits, variabilities, horizons)
    def test_it_is_a_share_at_any_load(self, servers, utilisation, limit, variability, horizon):
        load = utilisation * servers
        assert 0.0 <= violation_fraction_within(servers, load, limit, variability, horizon) <= 1.0

    @given(servers_counts, st.floats(0.0, 4.0), limits, variabilities, horizons)
    def test_it_grows_with_the_horizon(self, servers, utilisation, limit, variability, horizon):
        load = utilisation * servers
        shares = [
            violation_fraction_within(servers, load, limit, variability, times * horizon)
            for times in (1.0, 3.0, 10.0)
        ]
        assert shares[0] <= shares[1] + 1e-9
        assert shares[1] <= shares[2] + 1e-9

    @given(servers_counts, st.floats(0.1, 0.95), st.floats(0.0, 5.0), variabilities)
    def test_after_a_long_time_it_is_that_of_the_long_run(
        self, servers, utilisation, limit, variability
    ):
        load = utilisation * servers
        assert violation_fraction_within(servers, load, limit, variability, 1e7) == pytest.approx(
            violation_fraction(servers, load, limit, variability), rel=0.01, abs=1e-9
        )

    def test_one_in_a_billion_is_nobody(self):
        assert violation_fraction(30, 8.0, 1.0, 1.0) < 1e-9
        assert violation_fraction_within(30, 8.0, 1.0, 1.0, 100.0) == 0.0

    @given(servers_counts, st.floats(1.01, 4.0), limits, variabilities)
    def test_an_overload_makes_everybody_late_in_the_end(
        self, servers, utilisation, limit, variability
    ):
        load = utilisation * servers
        assert violation_fraction_within(servers, load, limit, variability, 1e7) == pytest.approx(
            1.0, abs=0.01
        )

    @given(servers_counts, limits, variabilities, horizons)
    def test_one_server_more_is_no_worse_at_any_load(self, servers, limit, variability, horizon):
        for load in (0.5 * servers, 0.9 * servers, 1.5 * servers + 1.0, 3.0 * servers):
            late = violation_fraction_within(servers, load, limit, variability, horizon)
            assert (
                violation_fraction_within(servers + 1, load, limit, variability, horizon)
                <= late + 1e-9
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
    def test_below_capacity_it_is_that_of_a_simulated_queue(self, servers, load, limit, horizon):
        """More by a quarter at most, since idle servers are not seen to fill up first; not less."""
        late = simulated(servers, load, limit, horizon)
        soon = violation_fraction_within(servers, load, limit, 1.0, horizon)
        assert 0.95 * late <= soon <= 1.25 * late + 0.002

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
    def test_beyond_it_is_not_far_from_one(self, servers, load, limit, horizon):
        """More by 0.16 at most, for the same reason; not less."""
        late = simulated(servers, load, limit, horizon)
        soon = violation_fraction_within(servers, load, limit, 1.0, horizon)
        assert late <= soon <= late + 0.16


class TestLateChance:
    @pytest.mark.parametrize("servers", [1, 2, 4, 20])
    @pytest.mark.parametrize("limit", [1.0, 2.0, 5.0, 20.0])
    def test_with_exponential_service_it_is_a_sum_of_poisson_chances(self, servers, limit):
        """All servers are busy while one waits, so that as many are served as a Poisson law says.
        One waits too long if they are fewer than those to be waited for."""
        mean = servers * limit
        tolerance = 0.5 / math.sqrt(mean) * 0.2 + 0.01
        exact = 0.0
        for ahead in range(1, round(mean + 6.0 * math.sqrt(mean)) + 2):
            exact += math.exp((ahead - 1) * math.log(mean) - mean - math.lgamma(ahead))
            found = violation_probability(servers - 1 + ahead, servers, limit, 1.0)
            assert found == pytest.approx(exact, abs=tolerance)

    @given(st.integers(0, 300), servers_counts, limits, st.floats(0.0, 5.0))
    def test_the_more_there_are_the_likelier(self, in_system, servers, limit, service_scv):
        chance = violation_probability(in_system, servers, limit, service_scv)
        assert (
            0.0
            <= chance
            <= violation_probability(in_system + 1, servers, limit, service_scv)
            <= 1.0
        )

    @given(st.integers(0, 300), servers_counts, limits)
    def test_who_may_wait_longer_is_late_less_often(self, in_system, servers, limit):
        chance = violation_probability(in_system, servers, limit, 1.0)
        assert violation_probability(in_system, servers, limit + 1.0, 1.0) <= chance + 1e-12

    def test_nobody_waits_at_a_free_server(self):
        assert violation_probability(3, 4, 0.0, 1.0) == 0.0

    def test_if_nobody_may_wait_everybody_who_does_is_late(self):
        assert violation_probability(4, 4, 0.0, 1.0) == 1.0
