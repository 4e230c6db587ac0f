"""What load is expected, of which counts."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.slo.load_distribution import (
    MIN_SPREAD,
    NEGLIGIBLE,
    LoadMixture,
    load_of_index,
    mean_and_spread,
    predicted,
    updated,
)

POLL_S = 10.0


def poisson(dice, mean):
    """Knuth's way for few, the normal law for many."""
    if mean > 50.0:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    count, product = 0, dice.random()
    while product > math.exp(-mean):
        count, product = count + 1, product * dice.random()
    return count


class Watched:
    """A load whose requests are counted every ten seconds."""

    def __init__(self, service_time_s=0.1, seed=1, dispersion=1.0):
        self.known = LoadMixture()
        self.service_time_s, self.dispersion = service_time_s, dispersion
        self.dice = random.Random(seed)

    def count(self, arrivals, interval_s=POLL_S):
        self.known = updated(self.known, arrivals, interval_s, self.service_time_s, self.dispersion)

    def see(self, erlangs, polls=1):
        """Poisson counts, or bursts of the size that the dispersion says."""
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
    def spread(self):
        return mean_and_spread(self.loads)[1]

    def chance_above(self, erlangs):
        return sum(
            weight for number, weight in self.loads.items() if load_of_index(number) > erlangs
        )


class TestSteadyLoads:
    @pytest.mark.parametrize("erlangs", [0.1, 1.0, 10.0, 100.0])
    def test_they_are_expected_to_stay(self, erlangs):
        watched = Watched().see(erlangs, 200)
        assert watched.mean == pytest.approx(erlangs, rel=0.05, abs=0.05)

    @pytest.mark.parametrize(
        ("erlangs", "service_time_s"), [(0.1, 0.1), (1.0, 0.1), (10.0, 2.0), (100.0, 10.0)]
    )
    def test_the_longer_they_last_the_less_is_doubted(self, erlangs, service_time_s):
        """With as many requests as say little in ten seconds."""
        spreads = [
            sum(Watched(service_time_s, seed).see(erlangs, polls).spread for seed in range(30))
            for polls in (2, 12, 300)
        ]
        assert spreads == sorted(spreads, reverse=True)
        assert spreads[2] < 0.7 * spreads[0]

    def test_a_level_is_not_known_better_than_it_drifts(self):
        assert Watched().see(100.0, 500).spread > MIN_SPREAD * 100.0 / 2.0

    def test_many_requests_leave_less_doubt_than_few(self):
        """Of the same load: the fewer there are, the longer each one takes."""
        shares = [Watched(service_time_s=s).see(5.0, 12).spread / 5.0 for s in (5.0, 0.5, 0.05)]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > 2.0 * shares[2]

    def test_one_request_is_hardly_any_evidence(self):
        watched = Watched()
        watched.count(1)
        assert watched.spread > 0.5 * watched.mean

    def test_requests_that_come_in_bursts_leave_more_doubt(self):
        single, bursty = (Watched(dispersion=each).see(10.0, 60) for each in (1.0, 20.0))
        assert bursty.spread > 1.2 * single.spread


class TestLeaps:
    @pytest.mark.parametrize("erlangs", [2.0, 10.0, 100.0])
    @pytest.mark.parametrize("times", [2.0, 5.0])
    def test_the_next_count_is_followed(self, erlangs, times):
        watched = Watched().see(erlangs, 120)
        watched.count(round(times * erlangs * 100.0))
        assert watched.mean == pytest.approx(times * erlangs, rel=0.1)

    @pytest.mark.parametrize("times", [2.0, 5.0])
    def test_so_is_a_fall(self, times):
        watched = Watched().see(10.0, 120)
        watched.count(round(10.0 * 100.0 / times))
        assert watched.mean == pytest.approx(10.0 / times, rel=0.2)

    def test_after_one_there_is_more_doubt_than_before(self):
        watched = Watched().see(10.0, 120)
        before = watched.spread / watched.mean
        watched.count(3000)
        assert watched.spread / watched.mean > before

    def test_one_count_within_the_noise_is_none(self):
        """Two standard deviations of it are not followed."""
        watched = Watched().see(10.0, 120)
        watched.count(1000 + round(2.0 * math.sqrt(1000)))
        assert watched.mean == pytest.approx(10.0, rel=0.04)


class TestBursts:
    @staticmethod
    def bursts(times):
        """Ten erlangs for one minute in five, two else, and at the end only two."""
        watched = Watched().see(2.0, 60)
        for _ in range(times):
            watched.see(10.0, 6)
            watched.see(2.0, 24)
        return watched

    def test_those_that_recur_are_expected_again(self):
        chances = [self.bursts(times).chance_above(6.0) for times in (0, 10, 30)]
        assert chances[0] < chances[1] < chances[2]

    def test_what_they_look_like_is_remembered(self):
        watched = self.bursts(10)
        high = {n: weight for n, weight in watched.loads.items() if load_of_index(n) > 6.0}
        mean = sum(weight * load_of_index(n) for n, weight in high.items()) / sum(high.values())
        assert mean == pytest.approx(10.0, rel=0.1)

    def test_they_are_forgotten_when_they_stay_away(self):
        watched = self.bursts(10)
        before = watched.chance_above(6.0)
        assert watched.see(2.0, 3 * 8640).chance_above(6.0) < 0.5 * before

    def test_the_next_one_is_known_by_its_first_count(self):
        """Half an interval of it, which alone would look like six erlangs."""
        naive, experienced = self.bursts(0), self.bursts(10)
        for watched in (naive, experienced):
            watched.count(1000)
            assert watched.mean == pytest.approx(10.0, rel=0.1)


class TestHarm:
    counts = st.lists(
        st.tuples(
            st.integers(0, 1_000_000) | st.sampled_from([0, 1, 1_000_000]),
            st.sampled_from([10.0, 10.0, 0.001, 1.0, 60.0, 86_400.0, 1e7]),
        ),
        max_size=60,
    )

    @settings(max_examples=100, deadline=None)
    @given(counts, st.floats(1e-4, 600.0), st.floats(1.0, 25.0))
    def test_whatever_is_counted_a_law_is_expected(self, counts, service_time_s, dispersion):
        known = LoadMixture()
        for arrivals, interval_s in counts:
            known = updated(known, arrivals, interval_s, service_time_s, dispersion)
            loads = predicted(known, service_time_s, dispersion)
            assert sum(loads.values()) == pytest.approx(1.0, abs=len(loads) * NEGLIGIBLE)
            assert all(0.0 < weight <= 1.0 + 1e-9 for weight in loads.values())
            mean, spread = mean_and_spread(loads)
            assert 0.0 <= mean < math.inf
            assert 0.0 <= spread < math.inf
            assert sum(known.weights) == pytest.approx(1.0)
            assert sum(known.prior_weights) == pytest.approx(1.0)
            assert 0.0 <= known.rate_per_s < math.inf
            assert 0.0 < known.expected_duration_s <= 480.0

    @settings(max_examples=20, deadline=None)
    @given(counts)
    def test_the_same_counts_have_the_same_consequences(self, counts):
        one, other = Watched(), Watched()
        for count in counts:
            one.count(*count)
            other.count(*count)
        assert one.known == other.known
        assert one.loads == other.loads

    def test_memory_is_bounded_however_the_load_leaps(self):
        dice, watched, sizes = random.Random(4), Watched(), []
        for _ in range(3000):
            watched.count(round(10.0 ** dice.uniform(0.0, 6.0)))
            sizes.append(sum(len(past) for past in watched.known.histories))
        assert max(sizes[2000:]) < 2500
        assert max(sizes[2000:]) <= 1.1 * max(sizes[:2000])

    def test_a_steady_load_takes_little_memory(self):
        watched = Watched().see(100.0, 3000)
        assert sum(len(past) for past in watched.known.histories) < 150
        assert len(watched.loads) < 100

    def test_before_the_first_count_nothing_is_expected(self):
        assert dict(predicted(LoadMixture(), 0.1, 1.0)) == {}

    def test_no_request_for_a_day_is_hardly_any_load(self):
        assert Watched().see(0.0, 8640).mean < 1e-3
