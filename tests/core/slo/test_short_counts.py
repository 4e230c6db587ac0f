"""The dispersion of arrivals within seconds, apart from a rate that changes every minute."""

import numpy as np
import pytest

from autoscaler.core.slo.count_window import CountWindow
from autoscaler.core.slo.memory import SloMemory
from autoscaler.core.slo.service_time import MAX_OBSERVED_RATIO
from autoscaler.core.slo.short_counts import MAX_BY_CHANCE, MIN_PAIRS, ShortCounts

SHORT_S, ROUTINE_S = 2.0, 10.0
MINUTE_S = 60.0


def observed(counts, interval_s, known=None, *, exact=True):
    """The window after these counts, as the policy sees them."""
    known = known or CountWindow()
    for count in counts:
        known = known.after(int(count), interval_s, exact=exact)
        if known.is_complete and exact:
            known = known.with_dispersion()
    return known


def dispersion(window):
    """The dispersion that the policy uses."""
    return SloMemory(window=window).dispersion


def averages(counts, interval_s=SHORT_S):
    """The means over time: of the dispersion of windows, of that of short intervals, and of the one
    that the policy uses."""
    known, course = CountWindow(), []
    for count in counts:
        known = observed([count], interval_s, known)
        course.append((known.dispersion, known.short.dispersion, dispersion(known)))
    return np.mean(course[500:], axis=0)


class TestShortCounts:
    @pytest.mark.parametrize("mean", [0.2, 4.0, 1_000.0])
    def test_of_poisson_counts_it_is_one(self, mean):
        _, short, used = averages(np.random.default_rng(1).poisson(mean, 20_000))
        assert short == pytest.approx(1.0, abs=0.07)
        assert used == pytest.approx(1.0, abs=0.1)

    def test_of_batches_it_is_their_size(self):
        _, short, used = averages(4 * np.random.default_rng(2).poisson(20.0, 20_000))
        assert short == pytest.approx(4.0, rel=0.07)
        assert used == pytest.approx(4.0, rel=0.15)

    def test_a_rate_that_changes_every_minute_hardly_raises_it(self):
        rng = np.random.default_rng(3)
        rates = rng.choice([24.0, 56.0], 600).repeat(round(MINUTE_S / SHORT_S))
        of_windows, short, used = averages(rng.poisson(rates * SHORT_S))
        assert of_windows > 2.5
        assert short < 1.6
        assert used < 1.7

    def test_bursts_that_last_for_seconds_raise_it(self):
        rng = np.random.default_rng(4)
        rates = rng.choice([0.0, 80.0], 20_000)
        assert averages(rng.poisson(rates * SHORT_S))[2] > 10.0

    def test_it_is_not_more_than_that_of_windows(self):
        """Each window has the same number of requests."""
        window = observed([0, 40, 20, 30, 10] * 100, SHORT_S)
        assert window.short.dispersion > 5.0
        assert dispersion(window) == window.dispersion < 1.0

    def test_what_windows_show_by_chance_is_not_lowered(self):
        """So the allocations of a steady load change no more often."""
        window = observed([100, 84] * 40, ROUTINE_S)
        window = observed([18] * 20, SHORT_S, window)
        assert window.short.dispersion < 0.2
        assert dispersion(window) == window.dispersion
        assert 1.0 < window.dispersion < MAX_BY_CHANCE

    def test_it_stays_within_bounds(self):
        counts = np.random.default_rng(5).choice([0, 10**6], 1_000)
        assert averages(counts)[1] <= MAX_OBSERVED_RATIO


class TestWhatIsCompared:
    def test_without_early_polls_that_of_windows_counts(self):
        window = observed(4 * np.random.default_rng(2).poisson(20.0, 300), ROUTINE_S)
        assert dispersion(window) == window.dispersion > 2.0

    def test_a_few_early_polls_are_not_enough(self):
        window = observed([100, 20] * 200, ROUTINE_S)
        window = observed([10] * int(MIN_PAIRS), SHORT_S, window)
        assert dispersion(window) == window.dispersion
        assert dispersion(observed([10, 10], SHORT_S, window)) < 2.0

    def test_intervals_apart_are_not_compared(self):
        window = CountWindow()
        for _ in range(50):
            window = observed([100], ROUTINE_S, observed([2], SHORT_S, window))
        assert window.short.pairs == 0.0

    def test_intervals_of_uncertain_length_are_not_compared(self):
        window = observed([0, 100] * 50, SHORT_S, exact=False)
        assert window.short == ShortCounts()

    @pytest.mark.parametrize(("interval_s", "pairs"), [(2.9, 1.0), (3.1, 0.0), (1.3, 0.0)])
    def test_only_intervals_of_about_the_same_length_are_compared(self, interval_s, pairs):
        assert ShortCounts().after(10, 2.0).after(10, interval_s).pairs == pairs

    def test_a_longer_interval_is_expected_to_have_more(self):
        rng, known, course = np.random.default_rng(6), ShortCounts(), []
        for interval_s in (2.0, 2.8) * 5_000:
            known = known.after(int(rng.poisson(50.0 * interval_s)), interval_s)
            course.append(known.dispersion)
        assert np.mean(course[500:]) == pytest.approx(1.0, abs=0.07)

    def test_old_pairs_are_forgotten(self):
        window = observed([0, 40] * 100, SHORT_S)
        assert observed([100] * 100, ROUTINE_S, window).short.is_known
        assert not observed([100] * 2_000, ROUTINE_S, window).short.is_known

    def test_a_pause_is_not_compared_across(self):
        window = observed([1_000], SHORT_S).restarted()
        assert observed([0], SHORT_S, window).short.pairs == 0.0
