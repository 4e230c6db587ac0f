"""One queue with its workers, against queueing theory and rule by rule."""

import math
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.simulation.errors import conflict
from autoscaler.simulation.ledger import Ledger
from autoscaler.simulation.process import Process
from autoscaler.simulation.requests import InferenceRequest
from autoscaler.simulation.service_times import ServiceTimes, speed_up
from autoscaler.simulation.specs import ModelSpec

pytestmark = pytest.mark.untraced


class Scripted:
    """Service times given by a test; the last one is repeated."""

    def __init__(self, *seconds: float) -> None:
        self.drawn: list[float] = []
        self.warm_up_s, self.warm_up_factor = 0.0, 1.0
        self._script = deque(seconds)

    def draw(self) -> None:
        self.drawn.append(self._script.popleft() if len(self._script) > 1 else self._script[0])


class Exponential(Scripted):
    def __init__(self, mean_s: float, seed: int) -> None:
        super().__init__(mean_s)
        self._mean_s, self._rng = mean_s, np.random.default_rng(seed)

    def draw(self) -> None:
        self.drawn.extend(self._rng.exponential(self._mean_s, 4096).tolist())


def process(service=None, allocations: int = 1, capacity: int = 10**6) -> tuple[Process, Ledger]:
    ledger = Ledger(0.0)
    started = Process(
        0.0,
        allocations=allocations,
        threads_per_allocation=1,
        queue_capacity=capacity,
        service_times=service or Scripted(1.0),
        ledger=ledger,
    )
    return started, ledger


def offer(
    at: float, timeout_s: float = 1e9, high: bool = False, request: InferenceRequest | None = None
):
    return (at, at + timeout_s, 1.0, high, request)


def watched(at: float, timeout_s: float = 1e9, high: bool = False):
    request = InferenceRequest(arrived=at, deadline=at + timeout_s)
    return offer(at, timeout_s, high, request), request


def poisson(rate_per_s: float, count: int, seed: int):
    gaps = np.random.default_rng(seed).exponential(1.0 / rate_per_s, count)
    return [offer(at) for at in np.cumsum(gaps).tolist()]


def waiting_probability(load: float, servers: int) -> float:
    """Erlang's C formula."""
    blocking = 1.0
    for k in range(1, servers + 1):
        blocking = load * blocking / (k + load * blocking)
    rho = load / servers
    return blocking / (1.0 - rho * (1.0 - blocking))


@pytest.mark.parametrize(("servers", "rho"), [(1, 0.7), (4, 0.8), (8, 0.7)])
def test_waits_are_those_of_an_m_m_c_queue(servers, rho):
    """200 000 requests, seeds 1 and 2: P(wait) within 3%, its tail at the mean within 6%."""
    started, ledger = process(Exponential(1.0, seed=1), servers)
    load = rho * servers
    offers = poisson(load, 200_000, seed=2)
    started.offer(offers, offers[-1][0])
    probability = waiting_probability(load, servers)
    assert ledger.waited_longer_than(0.0) / ledger.requests == pytest.approx(probability, rel=0.03)
    tail = probability * math.exp(-(servers - load))
    assert ledger.waited_longer_than(1.0) / ledger.requests == pytest.approx(tail, rel=0.06)


def test_percentiles_of_the_wait_are_those_of_an_m_m_c_queue():
    """4 servers, rho 0.8, 200 000 requests: the 95th and 99th percentile within 6%."""
    started, ledger = process(Exponential(1.0, seed=3), 4)
    offers = poisson(3.2, 200_000, seed=4)
    started.offer(offers, offers[-1][0])
    for level in (0.95, 0.99):
        quantile = math.log(waiting_probability(3.2, 4) / (1.0 - level)) / (4 - 3.2)
        assert ledger.wait_percentile(level) == pytest.approx(quantile, rel=0.06)


def test_with_constant_service_every_wait_is_that_of_lindleys_recursion():
    """M/D/1 at rho 0.8, 200 000 requests; their mean wait is rho S / (2 (1 - rho)) within 5%."""
    started, ledger = process(Scripted(1.0))
    offers = poisson(0.8, 200_000, seed=5)
    waits, free_at = [], 0.0
    for at, *_ in offers:
        waits.append(max(0.0, free_at - at))
        free_at = max(free_at, at) + 1.0
    assert np.mean(waits) == pytest.approx(0.8 / (2 * 0.2), rel=0.05)
    started.offer(offers, free_at)
    for limit in (0.5, 1.0, 2.0, 5.0, 10.0):
        assert ledger.waited_longer_than(limit) == sum(wait > limit for wait in waits)


@pytest.mark.parametrize("rho", [0.9, 1.5])
def test_a_full_queue_rejects_as_an_m_m_1_k_queue_loses(rho):
    """9 waiting places and one server, 200 000 requests: the share lost within 5%."""
    started, ledger = process(Exponential(1.0, seed=6), 1, capacity=9)
    offers = poisson(rho, 200_000, seed=7)
    started.offer(offers, offers[-1][0])
    room = 10
    lost = (1.0 - rho) * rho**room / (1.0 - rho ** (room + 1))
    assert ledger.rejected / ledger.requests == pytest.approx(lost, rel=0.05)


def test_service_times_have_the_mean_and_spread_of_the_model():
    spec = ModelSpec(model_id="m", service_time_s=0.04, service_cv=0.7)
    times = ServiceTimes(spec, 1, np.random.default_rng(8))
    while len(times.drawn) < 200_000:
        times.draw()
    assert np.mean(times.drawn) == pytest.approx(0.04, rel=0.01)
    assert np.std(times.drawn) / np.mean(times.drawn) == pytest.approx(0.7, rel=0.02)


def test_more_threads_are_faster_but_not_in_proportion():
    assert speed_up(1) == 1.0
    assert 1.0 < speed_up(2) < 2.0 < speed_up(4) < 4.0


def test_a_full_queue_refuses_at_once():
    started, _ = process(capacity=1)
    (first, one), (second, two), (third, three) = (watched(0.0) for _ in range(3))
    started.offer([first, second, third], 0.0)
    assert (one.done, two.done, three.state) == (False, False, "failed")
    assert three.error.status == 429
    assert three.error.type == "es_rejected_execution_exception"
    assert started.counters(0.0).rejections == 1


def test_high_priority_goes_first_without_interrupting():
    started, _ = process(capacity=3)
    first, second, urgent = watched(0.0), watched(0.1), watched(0.2, high=True)
    started.offer([entry for entry, _ in (first, second, urgent)], 5.0)
    assert [request.finished_at for _, request in (first, second, urgent)] == [1.0, 3.0, 2.0]


def test_a_request_that_expires_in_the_queue_is_pending_until_its_turn_and_costs_no_work():
    started, ledger = process()
    started.offer([offer(0.0), offer(0.0, timeout_s=0.5), offer(0.0)], 0.6)
    at_expiry = started.counters(0.6)
    assert (at_expiry.timeouts, at_expiry.pending) == (1, 3)
    started.offer([], 1.0)
    assert (started.counters(1.0).timeouts, started.counters(1.0).pending) == (1, 1)
    started.offer([], 2.0)
    assert started.counters(2.0).completed == 2
    assert ledger.timed_out == 1


def test_a_request_that_expires_in_service_wastes_the_work():
    started, ledger = process()
    started.offer([offer(0.0, timeout_s=0.5), offer(0.0)], 0.6)
    at_expiry = started.counters(0.6)
    assert (at_expiry.timeouts, at_expiry.pending, at_expiry.completed) == (1, 1, 0)
    started.offer([], 1.9)
    assert started.counters(1.9).completed == 0
    started.offer([], 2.0)
    finished = started.counters(2.0)
    assert (finished.completed, finished.timeouts, finished.inference_ms) == (1, 1, 1000)
    assert (ledger.completed, ledger.timed_out) == (1, 1)


def test_time_is_counted_in_whole_milliseconds_and_hits_as_0():
    started, _ = process(Scripted(0.0019, 0.0009, 0.0, 0.0))
    started.offer([offer(0.0), offer(1.0), offer(2.0), offer(3.0)], 4.0)
    counters = started.counters(4.0)
    assert (counters.completed, counters.cache_hits, counters.inference_ms) == (4, 2, 1)
    assert counters.mean_inference_ms == 0.25
    assert counters.mean_inference_ms_without_hits == 0.5
    assert counters.last_access == pytest.approx(3.0, abs=0.001)


def test_minutes_are_aligned_to_the_start_of_the_process():
    started, _ = process(Scripted(0.1))
    started.offer([offer(at) for at in (10.0, 20.0, 59.95, 70.0)], 90.0)
    counters = started.counters(90.0)
    assert (counters.completed_last_minute, counters.peak_per_minute) == (2, 2)
    assert counters.mean_inference_ms_last_minute == 100.0
    started.offer([], 120.0)
    assert started.counters(120.0).completed_last_minute == 2
    assert started.counters(185.0).completed_last_minute == 0
    assert started.counters(185.0).mean_inference_ms_last_minute is None
    assert started.counters(185.0).peak_per_minute == 2


def test_an_increase_starts_queued_requests_and_a_decrease_interrupts_none():
    started, _ = process()
    started.offer([offer(0.0) for _ in range(4)], 0.0)
    started.resize(0.5, 3)
    assert started.counters(0.5).allocations == 3
    started.resize(0.6, 1)
    started.offer([], 1.5)
    assert started.counters(1.5).completed == 3
    started.offer([], 2.5)
    assert started.counters(2.5).completed == 4


def test_a_process_that_ends_fails_its_requests():
    started, ledger = process()
    (first, one), (second, two) = watched(0.0), watched(0.0)
    started.offer([first, second, offer(0.0, timeout_s=0.1)], 0.2)
    started.end(0.5, queued=conflict("gone"))
    assert (one.state, two.state, two.error.reason) == ("failed", "failed", "gone")
    assert (ledger.failed, ledger.timed_out, ledger.in_flight) == (2, 1, 0)
    assert started.idle


offers = st.lists(
    st.tuples(st.floats(0.0, 30.0), st.floats(0.01, 5.0), st.booleans()), max_size=60
).map(lambda drawn: [offer(at, timeout, high) for at, timeout, high in sorted(drawn)])


@settings(max_examples=60, deadline=None)
@given(offers, st.integers(1, 3), st.integers(1, 5), st.lists(st.floats(0.0, 40.0), max_size=8))
def test_nothing_is_lost_and_pausing_changes_nothing(offers, allocations, capacity, pauses):
    def run(until: list[float]):
        service = Exponential(0.7, seed=1)
        started, ledger = process(service, allocations, capacity)
        left = list(offers)
        for to in until:
            now = [entry for entry in left if entry[0] <= to]
            left = left[len(now) :]
            started.offer(now, to)
            seen = started.counters(to)
            assert ledger.requests == len(offers) - len(left)
            done = seen.completed + seen.rejections + ledger.timed_out
            assert done + ledger.in_flight == ledger.requests
            assert seen.timeouts >= ledger.timed_out
        return started.counters(40.0)

    assert run([40.0]) == run([*sorted(pauses), 40.0])
