"""The wait that an objective allows, held against queues whose waits are known or simulated."""

import math

import numpy as np
import pytest

from autoscaler.core.slo.objective import SloObjective


def log_normal(rng, cv, count):
    variance = math.log1p(cv * cv)
    return rng.lognormal(-variance / 2.0, math.sqrt(variance), count)


def gamma(rng, cv, count):
    return rng.gamma(1.0 / cv**2, cv**2, count)


def waits(between, service):
    """Of each request to one allocation, by Lindley's recursion, all at once."""
    paths = np.concatenate([[0.0], np.cumsum(service[:-1] - between[1:])])
    return paths - np.minimum.accumulate(paths)


def busiest(between, service, limit, percentile):
    """The waits where the load is such that just this share of them is within the limit."""
    idle, full = 50.0, 1.0
    for _ in range(14):
        stretch = math.sqrt(idle * full)
        if np.quantile(waits(stretch * between, service), percentile) > limit:
            full = stretch
        else:
            idle = stretch
    return waits(idle * between, service)


def set_aside(percentile, cv):
    """What is left of a long latency for requests that take long, in service times."""
    limit = SloObjective(target=percentile, latency_s=1e6).max_queue_wait_s(1.0, cv)
    return 1e6 - limit


def erlang_c(servers, load):
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return servers * blocked / (servers - load * (1.0 - blocked))


class TestWithoutALatency:
    def test_the_wait_that_is_said(self):
        assert SloObjective(wait_s=0.3).max_queue_wait_s(0.040, 1.0) == 0.3
        assert SloObjective(wait_s=0.0).max_queue_wait_s(0.040, 1.0) == 0.0

    def test_or_else_two_service_times(self):
        assert SloObjective().max_queue_wait_s(0.050, 3.0) == pytest.approx(0.1)


class TestOfALatency:
    def test_constant_service_leaves_the_rest(self):
        assert SloObjective(latency_s=0.25).max_queue_wait_s(0.1, 0.0) == pytest.approx(0.15)
        assert SloObjective(latency_s=0.0999).max_queue_wait_s(0.1, 0.0) is None

    def test_scale_does_not_matter(self):
        small = SloObjective(latency_s=0.25).max_queue_wait_s(0.05, 0.7)
        large = SloObjective(latency_s=250.0).max_queue_wait_s(50.0, 0.7)
        assert large == pytest.approx(1000.0 * small)

    def test_the_more_service_times_vary_the_less_is_left(self):
        objective = SloObjective(target=0.95, latency_s=0.4)
        limits = [objective.max_queue_wait_s(0.1, cv) for cv in (0.0, 0.2, 0.4, 0.6, 0.8)]
        assert limits == sorted(limits, reverse=True)
        assert limits[-1] < 0.5 * limits[0]

    @pytest.mark.parametrize("cv", [0.1, 0.5, 1.0])
    def test_it_is_out_of_reach_when_too_many_take_longer_without_a_wait(self, cv):
        service = log_normal(np.random.default_rng(1), cv, 400_000)
        longest_kept = float(np.quantile(service, 0.99))
        assert SloObjective(latency_s=0.98 * longest_kept).max_queue_wait_s(1.0, cv) is None
        assert SloObjective(latency_s=1.02 * longest_kept).max_queue_wait_s(1.0, cv) is not None

    def test_nobody_may_wait_where_service_alone_uses_the_budget_up(self):
        usual, all_aside = set_aside(0.98, 0.5), set_aside(0.99, 0.5)
        between = SloObjective(target=0.99, latency_s=(usual + all_aside) / 2.0)
        assert between.max_queue_wait_s(1.0, 0.5) == 0.0


class TestItIsKept:
    """Where just the promised share of the requests waits no longer than the limit."""

    @pytest.mark.parametrize("law", [log_normal, gamma])
    @pytest.mark.parametrize("cv", [0.1, 0.5, 1.0])
    @pytest.mark.parametrize("percentile", [0.9, 0.95, 0.99])
    @pytest.mark.parametrize("latency", [1.25, 3.0])
    def test_by_one_allocation_in_simulation(self, law, cv, percentile, latency):
        rng = np.random.default_rng(7)
        between, service = rng.exponential(1.0, 100_000), law(rng, cv, 100_000)
        latency_s = latency * set_aside(percentile, cv)
        limit = SloObjective(target=percentile, latency_s=latency_s).max_queue_wait_s(1.0, cv)
        total = busiest(between, service, limit, percentile) + service
        assert np.mean(total > latency_s) <= 1.02 * (1.0 - percentile)

    @pytest.mark.parametrize("servers", [1, 2, 5, 20, 100])
    @pytest.mark.parametrize("percentile", [0.9, 0.99, 0.999])
    @pytest.mark.parametrize("latency", [1.25, 2.0, 5.0])
    def test_by_many_allocations_with_exponential_service_exactly(
        self, servers, percentile, latency
    ):
        """M/M/c: P(wait > t) = C exp(-gt), where g = servers - load in units of the service."""
        budget, latency_s = 1.0 - percentile, latency * set_aside(percentile, 1.0)
        limit = SloObjective(target=percentile, latency_s=latency_s).max_queue_wait_s(1.0, 1.0)
        low, high = 0.0, servers - 1e-9
        for _ in range(60):
            load = (low + high) / 2.0
            late = erlang_c(servers, load) * math.exp(-(servers - load) * limit) > budget
            low, high = (low, load) if late else (load, high)
        gap, delayed = servers - low, erlang_c(servers, low)
        # The integral of exp(-s) C exp(-g(L - s)) over services s shorter than L; and those longer.
        rate = 1.0 - gap
        stretch = latency_s if rate == 0.0 else -math.expm1(-rate * latency_s) / rate
        late = math.exp(-latency_s) + delayed * math.exp(-gap * latency_s) * stretch
        assert late <= budget

    @pytest.mark.parametrize("law", [log_normal, gamma])
    @pytest.mark.parametrize("cv", [0.05, 0.5, 1.0])
    def test_and_within_half_as_much_again_at_the_very_edge(self, law, cv):
        rng = np.random.default_rng(8)
        between, service = rng.exponential(1.0, 100_000), law(rng, cv, 100_000)
        latency_s = set_aside(0.95, cv)
        limit = SloObjective(target=0.95, latency_s=latency_s).max_queue_wait_s(1.0, cv)
        total = busiest(between, service, limit + 1e-9, 0.95) + service
        assert np.mean(total > latency_s) <= 1.5 * 0.05
