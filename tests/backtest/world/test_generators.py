"""Synthetic traces: the same for the same seed, and each of the documented shape."""

import numpy as np
import pytest

from autoscaler.backtest.world.generators import GENERATORS, generate

SEEDS = range(1, 9)


def rates(name: str, seed: int, step_s: float) -> np.ndarray:
    """Requests per second, for each step."""
    trace = generate(name, seed)
    return trace.counts.reshape(-1, round(step_s / trace.bin_s)).sum(axis=1) / step_s


@pytest.mark.parametrize("name", GENERATORS)
class TestEachGenerator:
    def test_the_same_seed_gives_the_same_trace_and_another_a_different_one(self, name):
        first, again, other = (generate(name, seed).counts for seed in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_it_has_a_name_and_a_description(self, name):
        generator, trace = GENERATORS[name], generate(name)
        assert trace.name == generator.name == name
        assert 20 <= len(generator.description) <= 80
        assert trace.duration_s == generator.days * 86_400.0
        assert trace.counts.dtype == np.int64

    def test_it_can_be_scaled_to_its_99th_percentile_with_any_seed(self, name):
        """Eight seeds: busy for more than 1% of the time, at higher rates than in scenarios."""
        assert min(generate(name, seed).p99_per_s for seed in SEEDS) > 25.0


def test_an_unknown_generator_is_an_error():
    with pytest.raises(KeyError):
        generate("diurnl")


def test_a_stationary_load_is_poisson():
    """8 x 8640 bins: variance over mean within 3% (four standard errors are 2.2%)."""
    counts = np.concatenate([generate("stationary", seed).counts for seed in SEEDS])
    assert counts.mean() == pytest.approx(400.0, rel=0.002)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.03)


def test_a_day_has_two_peaks_and_a_quiet_night():
    hourly = np.mean([rates("diurnal", seed, 3600.0) for seed in SEEDS], axis=0)
    assert hourly.argmax() in {9, 10, 11, 14, 15, 16}
    assert hourly[12] < 0.9 * min(hourly[10], hourly[15])
    assert hourly[2:5].max() < 0.15 * hourly.max()


def test_a_week_is_quiet_at_weekends_and_busiest_on_its_last_day():
    daily = np.mean([rates("weekly", seed, 86_400.0) for seed in SEEDS], axis=0)
    sunday, saturday = daily[[0, 7]].max(), daily[6]
    assert max(sunday, saturday) < 0.6 * daily[[1, 2, 3, 4, 5]].min()
    assert daily.argmax() == len(daily) - 1 == 8


def test_growth_is_fivefold_from_the_beginning_to_the_end():
    daily = np.mean([rates("growth", seed, 86_400.0) for seed in SEEDS], axis=0)
    assert (np.diff(daily) > 0.0).all()
    assert daily[-1] / daily[0] == pytest.approx(5.0 ** (7 / 8), rel=0.1)


def test_a_crowd_arrives_within_minutes():
    for seed in SEEDS:
        per_minute = rates("flash-crowd", seed, 60.0)
        peak = int(per_minute.argmax())
        assert per_minute[peak] > 8.0 * per_minute[peak - 20 : peak - 5].mean()
        assert per_minute[peak + 120 : peak + 150].mean() < 0.3 * per_minute[peak]


def test_a_square_wave_has_two_levels():
    quarters = rates("square-wave", 1, 900.0)
    assert quarters[::2] == pytest.approx(50.0, rel=0.05)
    assert quarters[1::2] == pytest.approx(5.0, rel=0.15)


def test_levels_last_tens_of_minutes():
    """Between 5 and 55 requests a second; jumps of more than 5 are few."""
    for seed in SEEDS:
        jumps = np.abs(np.diff(rates("steps", seed, 300.0))) > 5.0
        assert 5 <= jumps.sum() <= 60


def test_idleness_is_complete_and_bursts_are_steep():
    idle = [(generate("idle-with-bursts", seed).counts == 0).mean() for seed in SEEDS]
    assert 0.5 < np.mean(idle) < 0.9
    counts = generate("idle-with-bursts").counts
    assert (counts[1:][counts[:-1] == 0].max()) > 0.5 * counts.max()


def test_batches_arrive_within_seconds():
    """The dispersion of the counts of single seconds is above 10."""
    trace = generate("batch-arrivals")
    assert trace.bin_s == 1.0
    assert trace.counts.var() / trace.counts.mean() > 10.0
    assert (trace.counts >= 30).mean() == pytest.approx(0.09, abs=0.05)


def test_a_random_walk_has_bursts():
    """The differences from bin to bin correspond to a dispersion of 4, within 15%."""
    ratios = []
    for seed in SEEDS:
        counts = generate("random-walk", seed).counts
        ratios.append(np.diff(counts).var() / 2.0 / counts.mean())
    assert np.mean(ratios) == pytest.approx(4.0, rel=0.15)
