"""The predictive horizontal pod autoscaler and its models."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest.baselines.forecasts import DAY, HoltWinters, Linear
from autoscaler.backtest.baselines.hpa import AverageUtilisation, Hpa
from autoscaler.backtest.baselines.predictive_hpa import PredictiveHpa
from tests.backtest.baselines.polls import Obedient, poll, recorded

METRIC = AverageUtilisation(target=0.5)


class TestLinear:
    def forecasts(self, counts, **settings):
        model = Linear(**settings)
        memory, forecasts = model.begin(), []
        for index, count in enumerate(counts):
            forecast, memory = model.forecast(15.0 * index, count, memory)
            forecasts.append(forecast)
        return forecasts

    def test_one_point_is_its_own_forecast(self):
        assert self.forecasts([7], look_ahead_s=60.0) == [7]

    def test_a_line_is_continued(self):
        # One more every 15 s, extrapolated by a minute.
        assert self.forecasts([1, 2, 3, 4, 5, 6], look_ahead_s=60.0)[1:] == [6, 7, 8, 9, 10]

    def test_only_the_last_points_count(self):
        assert self.forecasts([50, 50, 50, 3, 3, 3, 3, 3, 3], look_ahead_s=60.0)[-1] == 3

    def test_it_is_the_least_squares_line(self):
        counts, times = [4, 9, 2, 7, 7, 12], 15.0 * np.arange(6)
        slope, intercept = np.polyfit(times, counts, 1)
        expected = math.ceil(intercept + slope * (75.0 + 40.0))
        assert self.forecasts(counts, look_ahead_s=40.0)[-1] == expected

    def test_it_does_not_fall_below_0(self):
        assert self.forecasts([9, 6, 3, 0], look_ahead_s=600.0)[-1] == 0

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.floats(0.0, 1e4))
    def test_a_constant_is_forecast_unchanged(self, count, look_ahead_s):
        assert set(self.forecasts([count] * 9, look_ahead_s=look_ahead_s)) == {count}


def wave(days):
    """Counts between 2 and 18, minute by minute."""
    return [
        round(10.0 + 8.0 * math.sin(2.0 * math.pi * (minute % DAY) / DAY))
        for minute in range(days * DAY)
    ]


class TestHoltWinters:
    def test_a_repeating_season_is_predicted_to_the_minute(self):
        counts, model = wave(4), HoltWinters()
        memory = model.from_history(counts[: 3 * DAY])
        assert memory.expected == counts[3 * DAY]
        for minute in range(3 * DAY, 4 * DAY - 1):
            forecast, memory = model.forecast(60.0 * minute, counts[minute], memory)
            assert forecast == counts[minute + 1]

    def test_a_trend_continues(self):
        counts = [20 + point // 144 for point in range(3 * DAY)]  # ten more a day
        memory = HoltWinters().from_history(counts)
        assert memory.expected == pytest.approx(50, abs=1)
        assert memory.smoothing.trend == pytest.approx(1 / 144, rel=0.05)

    def test_it_needs_two_seasons(self):
        model, counts = HoltWinters(), wave(2)
        memory = model.from_history(counts[:-2])
        forecast, memory = model.forecast(0.0, counts[-2], memory)
        assert forecast == 0
        forecast, memory = model.forecast(60.0, counts[-1], memory)
        assert forecast == counts[0]
        assert memory.collected == ()

    def test_a_forecast_is_valid_until_the_next_minute(self):
        model = HoltWinters()
        first, memory = model.forecast(0.0, 10, model.from_history(wave(3)))
        for at in (15.0, 30.0, 45.0):
            assert model.forecast(at, 99, memory) == (first, memory)
        assert model.forecast(60.0, 99, memory)[0] > first

    def test_only_whole_seasons_are_kept(self):
        model, counts = HoltWinters(), wave(6)
        assert model.from_history(counts) == model.from_history(counts[2 * DAY :])
        assert model.from_history(counts[: 4 * DAY]) == model.from_history(
            [99] * 700 + counts[: 4 * DAY]
        )

    def test_an_unusual_count_continues_in_part(self):
        model = HoltWinters()
        memory = model.from_history([10] * (3 * DAY))
        forecast, _ = model.forecast(0.0, 20, memory)
        assert 10 < forecast < 20


class TestDecision:
    def test_it_is_never_less_than_without_forecasts_before_a_removal(self):
        plain = Hpa(metric=METRIC)
        linear = PredictiveHpa(metric=METRIC, model=Linear(look_ahead_s=60.0))

        def load(at):
            return 2.0 + at / 60.0

        without, predictive = Obedient(plain, 4, load=load), Obedient(linear, 4, load=load)
        for sync in range(40):
            without.watch(15.0 * sync)
            predictive.watch(15.0 * sync)
            assert predictive.allocations >= without.allocations
        assert predictive.allocations > without.allocations

    def test_the_history_has_its_own_recommendations_within_the_limits(self):
        baseline = PredictiveHpa(metric=METRIC, model=HoltWinters())
        memory = baseline.from_history(recorded(np.full(2 * DAY, 6.0)), 1, 9)
        assert memory.model.expected == 9
        memory = baseline.from_history(recorded(np.zeros(2 * DAY)), 3, 9)
        assert memory.model.expected == 3

    def test_a_repeated_day_is_followed_a_minute_early(self):
        baseline = PredictiveHpa(metric=METRIC, model=HoltWinters())
        jump = np.tile(np.repeat([2.0, 12.0], [60, DAY - 60]), 3)
        memory = baseline.from_history(recorded(jump), 1, 50)
        deployment = Obedient(
            baseline, 4, load=lambda at: 2.0 if at <= 3600.0 else 12.0, memory=memory
        )
        changes = deployment.watch(3660.0, begin_s=60.0)
        first = min(at for at, allocations in changes.items() if allocations > 4)
        assert first <= 3600.0

    def test_without_a_metric_nothing_is_forecast(self):
        baseline = PredictiveHpa(metric=METRIC, model=Linear(look_ahead_s=60.0))
        memory = baseline.begin()
        assert (
            baseline.recommend(poll(15.0, current=3, running=0, interval_s=15.0), memory)[1]
            == memory
        )

    @pytest.mark.parametrize("model", [Linear(look_ahead_s=60.0), HoltWinters()])
    def test_its_name_contains_the_model(self, model):
        baseline = PredictiveHpa(metric=METRIC, model=model)
        assert baseline.name == f"predictive-hpa-{model.name}"
