"""The load to expect after given counts."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.slo.load_distribution import (
    CONTRADICTED,
    MIN_SPREAD,
    NEGLIGIBLE,
    LoadMixture,
    load_of_index,
    mean_and_spread,
    predicted,
    updated,
)
from autoscaler.core.slo.recurrence import ExpectedRate

pytestmark = pytest.mark.untraced

POLL_S = 10.0


def poisson(dice, mean):
    """Knuth's method for a small mean, the normal distribution for a large one."""
    if mean > 50.0:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    count, product = 0, dice.random()
    while product > math.exp(-mean):
        count, product = count + 1, product * dice.random()
    return count


class Polled:
    """A load whose requests are counted every ten seconds."""

    def __init__(self, service_time_s=0.1, seed=1, dispersion=1.0):
        self.known = LoadMixture()
        self.service_time_s, self.dispersion = service_time_s, dispersion
        self.dice = random.Random(seed)

    def count(self, arrivals, interval_s=POLL_S):
        self.known = updated(self.known, arrivals, interval_s, self.service_time_s, self.dispersion)

    def see(self, erlangs, polls=1):
        """Poisson counts, or bursts whose size is the dispersion."""
        mean = erlangs / self.service_time_s * POLL_S / self.dispersion
        for _ in range(polls):
            self.count(round(self.dispersion * poisson(self.dice, mean)))
        return self

    @property
    def loads(self):
        return predicted(self.known, self.service_time_s, self.dispersion)

    @property
    def mean(self):
        return mean_and_spread(self.loads)[0]

    @property
    def stddev(self):
        return mean_and_spread(self.loads)[1]

    def probability_above(self, erlangs):
        return sum(weight for index, weight in self.loads.items() if load_of_index(index) > erlangs)


class TestSteadyLoads:
    @pytest.mark.parametrize("erlangs", [0.1, 1.0, 10.0, 100.0])
    def test_they_are_predicted_to_stay(self, erlangs):
        polled = Polled().see(erlangs, 200)
        assert polled.mean == pytest.approx(erlangs, rel=0.05, abs=0.05)

    @pytest.mark.parametrize(
        ("erlangs", "service_time_s"), [(0.1, 0.1), (1.0, 0.1), (10.0, 2.0), (100.0, 10.0)]
    )
    def test_the_uncertainty_falls_with_their_duration(self, erlangs, service_time_s):
        """With few requests in ten seconds."""
        deviations = [
            sum(Polled(service_time_s, seed).see(erlangs, polls).stddev for seed in range(30))
            for polls in (2, 12, 300)
        ]
        assert deviations == sorted(deviations, reverse=True)
        assert deviations[2] < 0.7 * deviations[0]

    def test_the_uncertainty_has_a_minimum(self):
        assert Polled().see(100.0, 500).stddev > MIN_SPREAD * 100.0 / 2.0

    def test_the_uncertainty_falls_with_the_number_of_requests(self):
        """At the same load, with longer service times."""
        ratios = [Polled(service_time_s=s).see(5.0, 12).stddev / 5.0 for s in (5.0, 0.5, 0.05)]
        assert ratios == sorted(ratios, reverse=True)
        assert ratios[0] > 2.0 * ratios[2]

    def test_one_request_leaves_a_wide_distribution(self):
        polled = Polled()
        polled.count(1)
        assert polled.stddev > 0.5 * polled.mean

    def test_the_uncertainty_rises_with_the_dispersion(self):
        single, bursty = (Polled(dispersion=each).see(10.0, 60) for each in (1.0, 20.0))
        assert bursty.stddev > 1.2 * single.stddev


class TestLoadJumps:
    @pytest.mark.parametrize("erlangs", [2.0, 10.0, 100.0])
    @pytest.mark.parametrize("times", [2.0, 5.0])
    def test_the_next_count_is_followed(self, erlangs, times):
        polled = Polled().see(erlangs, 120)
        polled.count(round(times * erlangs * 100.0))
        assert polled.mean == pytest.approx(times * erlangs, rel=0.1)

    @pytest.mark.parametrize("times", [2.0, 5.0])
    def test_so_is_a_fall(self, times):
        polled = Polled().see(10.0, 120)
        polled.count(round(10.0 * 100.0 / times))
        assert polled.mean == pytest.approx(10.0 / times, rel=0.2)

    def test_after_one_the_uncertainty_is_larger(self):
        polled = Polled().see(10.0, 120)
        before = polled.stddev / polled.mean
        polled.count(3000)
        assert polled.stddev / polled.mean > before

    def test_a_count_within_the_noise_is_not_a_jump(self):
        """Two standard deviations of it are not followed."""
        polled = Polled().see(10.0, 120)
        polled.count(1000 + round(2.0 * math.sqrt(1000)))
        assert polled.mean == pytest.approx(10.0, rel=0.04)


class TestUnforeseen:
    """The probability that the last count followed from nothing known before it."""

    def test_a_load_that_stays_is_foreseen(self):
        assert Polled().see(10.0, 200).known.unforeseen < 0.01

    def test_a_first_jump_is_not(self):
        assert Polled().see(10.0, 200).see(40.0).known.unforeseen > 0.9

    def test_a_jump_to_a_recent_load_is(self):
        polled = Polled().see(10.0, 200)
        for _ in range(10):
            polled.see(40.0, 6).see(10.0, 24)
        assert polled.see(40.0).known.unforeseen < 0.5


class TestRecurringRates:
    @pytest.mark.parametrize(("dispersion", "relative_variance"), [(400.0, 0.0), (1.0, 0.04)])
    def test_they_are_predicted_with_their_variation_and_that_of_counts(
        self, dispersion, relative_variance
    ):
        weights = (*(0.0,) * (len(LoadMixture().weights) - 1), 1.0)
        expected = ExpectedRate(1.0, 1_000.0, relative_variance)
        loads = predicted(LoadMixture(weights=weights), 0.1, dispersion, [expected])
        mean, stddev = mean_and_spread(loads)
        assert mean == pytest.approx(100.0, rel=0.02)
        assert stddev == pytest.approx(20.0, rel=0.1)

    def test_a_job_that_does_not_come_is_given_up_at_the_first_count(self):
        """The part of the weights that moves to their long averages leaves it out."""
        job, polled = [ExpectedRate(1.0, 30.0, 0.01)], Polled()
        for _ in range(10):
            polled.see(0.0, 30)
            for _ in range(6):
                polled.known = updated(polled.known, 300, POLL_S, 0.1, 1.0, job)
        polled.see(0.0, 30)
        begun = updated(polled.known, 300, POLL_S, 0.1, 1.0, job)
        assert begun.recurring_weight > 0.9
        for arrivals in range(0, 130, 10):
            after = updated(begun, arrivals, POLL_S, 0.1, 1.0, job)
            assert after.recurring_weight < CONTRADICTED * begun.recurring_weight


class TestBursts:
    @staticmethod
    def bursts(times):
        """Ten erlangs for one minute in five, two else, and at the end only two."""
        polled = Polled().see(2.0, 60)
        for _ in range(times):
            polled.see(10.0, 6)
            polled.see(2.0, 24)
        return polled

    def test_recurring_bursts_are_predicted(self):
        probabilities = [self.bursts(times).probability_above(6.0) for times in (0, 10, 30)]
        assert probabilities[0] < probabilities[1] < probabilities[2]

    def test_the_load_of_a_burst_is_retained(self):
        polled = self.bursts(10)
        high = {n: weight for n, weight in polled.loads.items() if load_of_index(n) > 6.0}
        mean = sum(weight * load_of_index(n) for n, weight in high.items()) / sum(high.values())
        assert mean == pytest.approx(10.0, rel=0.1)

    def test_bursts_that_no_longer_recur_are_forgotten(self):
        polled = self.bursts(10)
        before = polled.probability_above(6.0)
        assert polled.see(2.0, 3 * 8640).probability_above(6.0) < 0.5 * before

    def test_the_next_burst_is_recognised_by_its_first_count(self):
        """Half an interval of it, which alone would look like six erlangs."""
        naive, informed = self.bursts(0), self.bursts(10)
        for polled in (naive, informed):
            polled.count(1000)
            assert polled.mean == pytest.approx(10.0, rel=0.1)


class TestRobustness:
    counts = st.lists(
        st.tuples(
            st.integers(0, 1_000_000) | st.sampled_from([0, 1, 1_000_000]),
            st.sampled_from([10.0, 10.0, 0.001, 1.0, 60.0, 86_400.0, 1e7]),
        ),
        max_size=60,
    )

    @settings(max_examples=100, deadline=None)
    @given(counts, st.floats(1e-4, 600.0), st.floats(1.0, 25.0))
    def test_after_any_counts_the_prediction_is_a_distribution(
        self, counts, service_time_s, dispersion
    ):
        known = LoadMixture()
        for arrivals, interval_s in counts:
            known = updated(known, arrivals, interval_s, service_time_s, dispersion)
            loads = predicted(known, service_time_s, dispersion)
            assert sum(loads.values()) == pytest.approx(1.0, abs=len(loads) * NEGLIGIBLE)
            assert all(0.0 < weight <= 1.0 + 1e-9 for weight in loads.values())
            mean, stddev = mean_and_spread(loads)
            assert 0.0 <= mean < math.inf
            assert 0.0 <= stddev < math.inf
            assert sum(known.weights) == pytest.approx(1.0)
            assert sum(known.prior_weights) == pytest.approx(1.0)
            assert 0.0 <= known.rate_per_s < math.inf
            assert 0.0 < known.expected_duration_s <= 480.0

    @settings(max_examples=20, deadline=None)
    @given(counts)
    def test_the_same_counts_give_the_same_mixture(self, counts):
        one, other = Polled(), Polled()
        for count in counts:
            one.count(*count)
            other.count(*count)
        assert one.known == other.known
        assert one.loads == other.loads

    def test_memory_is_bounded_with_a_jumping_load(self):
        dice, polled, sizes = random.Random(4), Polled(), []
        for _ in range(3000):
            polled.count(round(10.0 ** dice.uniform(0.0, 6.0)))
            sizes.append(sum(len(past) for past in polled.known.histories))
        assert max(sizes[2000:]) < 2500
        assert max(sizes[2000:]) <= 1.1 * max(sizes[:2000])

    def test_a_steady_load_takes_little_memory(self):
        polled = Polled().see(100.0, 3000)
        assert sum(len(past) for past in polled.known.histories) < 150
        assert len(polled.loads) < 100

    def test_before_the_first_count_there_is_no_prediction(self):
        assert dict(predicted(LoadMixture(), 0.1, 1.0)) == {}

    def test_no_request_for_a_day_is_hardly_any_load(self):
        assert Polled().see(0.0, 8640).mean < 1e-3
