"""The laboratory itself: one seed is one history, a schedule shrinks, and the invariants hold."""

import pytest

from tests.chaos import laboratory
from tests.chaos.schedule import Disturbance, Scheduled, Traffic, schedule_of
from tests.chaos.settings import settings_of
from tests.chaos.shrinking import kind_of, shrunk

pytestmark = pytest.mark.untraced

CYCLES = 150


@pytest.mark.parametrize("seed", range(12))
def test_the_invariants_hold(seed):
    assert laboratory.run(seed, cycles=CYCLES).violations == ()


def test_a_seed_is_one_history():
    first, second = (laboratory.run(5, cycles=CYCLES) for _ in range(2))
    assert first.digest == second.digest
    assert first.cycles > 100


def test_seeds_differ():
    assert laboratory.run(3, cycles=50).digest != laboratory.run(4, cycles=50).digest


@pytest.mark.parametrize("seed", [0, 3])
def test_the_check_of_the_cluster_reads_no_statistics_beside_a_cycle(seed):
    def slow(number, traffic, seconds):
        fault = Disturbance(number=number, kind="slow", traffic=traffic, seconds=seconds)
        return Scheduled(at=0.0, lasts_s=190.0, fault=fault)

    schedule = [slow(0, Traffic.STATISTICS, 4.0), slow(1, Traffic.OTHERS, 2.4)]
    assert laboratory.run(seed, cycles=30, schedule=schedule).violations == ()


def test_faults_end_before_the_run_does():
    for scheduled in schedule_of(5, 1000.0, settings_of(5)):
        assert scheduled.at + scheduled.lasts_s <= 700.0


def test_a_schedule_shrinks_to_the_fault_that_matters(monkeypatch):
    def refused(trace, cycle):
        return "a poll failed" if cycle.failure is not None else ""

    monkeypatch.setattr(laboratory, "INVARIANTS", (refused,))
    needed = Disturbance(number=99, kind="refused", traffic=Traffic.STATISTICS)
    harmless = [
        Scheduled(
            at=10.0 * number,
            lasts_s=5.0,
            fault=Disturbance(number=number, kind="slow", traffic=Traffic.OTHERS, seconds=0.5),
        )
        for number in range(7)
    ]
    schedule = [*harmless, Scheduled(at=100.0, lasts_s=30.0, fault=needed)]

    def attempt(faults):
        return laboratory.run(1, cycles=20, schedule=faults)

    result = shrunk(attempt(schedule), attempt)
    assert [scheduled.fault for scheduled in result.schedule] == [needed]
    assert kind_of(result.violations[0]) == "refused"
