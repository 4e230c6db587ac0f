"""The queue wait that an SLO allows, in queues whose waits are known or simulated."""

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
    """The queue wait of each request to one allocation, by Lindley's recursion."""
    paths = np.concatenate([[0.0], np.cumsum(service[:-1] - between[1:])])
    return paths - np.minimum.accumulate(paths)


def busiest(between, service, limit, target):
    """The waits at the load at which exactly this fraction is within the limit."""
    idle, full = 50.0, 1.0
    for _ in range(14):
        stretch = math.sqrt(idle * full)
        if np.quantile(waits(stretch * between, service), target) > limit:
            full = stretch
        else:
            idle = stretch
    return waits(idle * between, service)


def reserved(target, cv):
    """The part of a long latency that is reserved for long service times, in mean service times."""
    limit = SloObjective(target=target, latency_s=1e6).max_queue_wait_s(1.0, cv)
    return 1e6 - limit


def erlang_c(servers, load):
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return servers * blocked / (servers - load * (1.0 - blocked))


class TestWithoutALatency:
    def test_the_configured_wait(self):
        assert SloObjective(wait_s=0.3).max_queue_wait_s(0.040, 1.0) == 0.3
        assert SloObjective(wait_s=0.0).max_queue_wait_s(0.040, 1.0) == 0.0

    def test_two_service_times_by_default(self):
        assert SloObjective().max_queue_wait_s(0.050, 3.0) == pytest.approx(0.1)


class TestWithALatency:
    def test_with_constant_service_times_the_rest_is_left(self):
        assert SloObjective(latency_s=0.25).max_queue_wait_s(0.1, 0.0) == pytest.approx(0.15)
        assert SloObjective(latency_s=0.0999).max_queue_wait_s(0.1, 0.0) is None

    def test_scale_does_not_matter(self):
        small = SloObjective(latency_s=0.25).max_queue_wait_s(0.05, 0.7)
        large = SloObjective(latency_s=250.0).max_queue_wait_s(50.0, 0.7)
        assert large == pytest.approx(1000.0 * small)

    def test_the_wait_falls_with_the_variation_of_service_times(self):
        objective = SloObjective(target=0.95, latency_s=0.4)
        limits = [objective.max_queue_wait_s(0.1, cv) for cv in (0.0, 0.2, 0.4, 0.6, 0.8)]
        assert limits == sorted(limits, reverse=True)
        assert limits[-1] < 0.5 * limits[0]

    @pytest.mark.parametrize("cv", [0.1, 0.5, 1.0])
    def test_it_is_unreachable_if_service_times_alone_violate_it(self, cv):
        service = log_normal(np.random.default_rng(1), cv, 400_000)
        quantile_s = float(np.quantile(service, 0.99))
        assert SloObjective(latency_s=0.98 * quantile_s).max_queue_wait_s(1.0, cv) is None
        assert SloObjective(latency_s=1.02 * quantile_s).max_queue_wait_s(1.0, cv) is not None

    def test_the_wait_is_zero_if_service_times_use_up_the_budget(self):
        one, other = reserved(0.98, 0.5), reserved(0.99, 0.5)
        between = SloObjective(target=0.99, latency_s=(one + other) / 2.0)
        assert between.max_queue_wait_s(1.0, 0.5) == 0.0


class TestItIsMet:
    """If exactly the fraction `target` of the requests waits no longer than the limit."""

    @pytest.mark.parametrize("law", [log_normal, gamma])
    @pytest.mark.parametrize("cv", [0.1, 0.5, 1.0])
    @pytest.mark.parametrize("target", [0.9, 0.95, 0.99])
    @pytest.mark.parametrize("latency", [1.25, 3.0])
    def test_by_one_allocation_in_simulation(self, law, cv, target, latency):
        rng = np.random.default_rng(7)
        between, service = rng.exponential(1.0, 100_000), law(rng, cv, 100_000)
        latency_s = latency * reserved(target, cv)
        limit = SloObjective(target=target, latency_s=latency_s).max_queue_wait_s(1.0, cv)
        total = busiest(between, service, limit, target) + service
        assert np.mean(total > latency_s) <= 1.02 * (1.0 - target)

    @pytest.mark.parametrize("servers", [1, 2, 5, 20, 100])
    @pytest.mark.parametrize("target", [0.9, 0.99, 0.999])
    @pytest.mark.parametrize("latency", [1.25, 2.0, 5.0])
    def test_by_many_allocations_with_exponential_service_exactly(self, servers, target, latency):
        """M/M/c: P(wait > t) = C exp(-gt), where g = servers - load in units of the service."""
        budget, latency_s = 1.0 - target, latency * reserved(target, 1.0)
        limit = SloObjective(target=target, latency_s=latency_s).max_queue_wait_s(1.0, 1.0)
        low, high = 0.0, servers - 1e-9
        for _ in range(60):
            load = (low + high) / 2.0
            exceeded = erlang_c(servers, load) * math.exp(-(servers - load) * limit) > budget
            low, high = (low, load) if exceeded else (load, high)
        gap, delayed = servers - low, erlang_c(servers, low)
        # The integral of exp(-s) C exp(-g(L - s)) over services s shorter than L; and those longer.
        rate = 1.0 - gap
        stretch = latency_s if rate == 0.0 else -math.expm1(-rate * latency_s) / rate
        violations = math.exp(-latency_s) + delayed * math.exp(-gap * latency_s) * stretch
        assert violations <= budget

    @pytest.mark.parametrize("law", [log_normal, gamma])
    @pytest.mark.parametrize("cv", [0.05, 0.5, 1.0])
    def test_within_one_and_a_half_budgets_if_no_request_may_wait(self, law, cv):
        rng = np.random.default_rng(8)
        between, service = rng.exponential(1.0, 100_000), law(rng, cv, 100_000)
        latency_s = reserved(0.95, cv)
        limit = SloObjective(target=0.95, latency_s=latency_s).max_queue_wait_s(1.0, cv)
        total = busiest(between, service, limit + 1e-9, 0.95) + service
        assert np.mean(total > latency_s) <= 1.5 * 0.05
