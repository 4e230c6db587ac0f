"""The highest load to expect within the next minutes, and whether that forecast is reliable.

    levels     a fast and a slow mean of the measured load
    profile    the load by time of day and of week                              seasonality
    centre     the load at the end of the horizon that follows from these       evaluation
    margin     how far the load rose above the centre in earlier cases          calibration
    forecast   centre and margin, their measured accuracy, and whether to use the forecast

All of it is learned from the measured loads: forecasts are made at intervals, and scored when they
are due. The choice of the parts: docs/decisions/0021-a-forecast-that-doubts-itself.md.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

from msgspec.structs import replace

from autoscaler.core.forecast.calibration import MIN_SCORES, initial_calibration
from autoscaler.core.forecast.evaluation import (
    SMOOTHING_S,
    TREND_S,
    HorizonRecord,
    PendingForecast,
    pending_forecast,
    point_forecasts,
    scored,
    with_margin,
)
from autoscaler.core.forecast.seasonality import (
    MAX_LEVEL,
    SLOT_S,
    SLOTS_PER_DAY,
    SLOTS_PER_WEEK,
    UNKNOWN,
    SeasonalProfile,
    after_slot,
    initial_profile,
)
from autoscaler.core.values import Value

HORIZONS_S = (60.0, 180.0, 600.0, 1800.0)
"""Horizons whose forecasts are scored, in seconds. In between, margins are interpolated; no
forecast beyond the longest is trusted."""

EVALUATION_INTERVAL_S = 430.0
"""Seconds between two forecasts that are scored, unless the horizon is longer. 430 s is not a
multiple of a minute or of another usual interval, so that forecasts are made at all offsets from
scheduled load."""

MAX_GAP_S = 120.0
"""Longest gap in the measurements, in seconds, across which a forecast is still made and scored."""

MAX_INTERVAL_S = SLOTS_PER_DAY * SLOT_S
"""Longest interval of a measurement, in seconds: one day. A longer one does not describe the
present load."""

MAX_ERROR_RATIO = 1.1
"""Forecasts are not trusted if their error exceeds the error of a naive forecast (the load of a day
earlier, or the present load) by this factor. 1.1: when only noise remains, all forecasts are equal
except by chance."""

MAX_COVERAGE_SHORTFALL = 0.1
"""Largest acceptable difference between the quantile and the measured coverage, as a fraction."""


class Forecast(Value, frozen=True, kw_only=True):
    """The highest load to expect within a horizon: erlangs, smoothed over a minute."""

    load: float  # not exceeded with probability `quantile`
    quantile: float
    expected: float  # median
    # Mean error at the horizon, divided by the error of the load of a day earlier; of the present
    # load, as long as that is unknown.
    accuracy: float | None
    coverage: float | None  # fraction of the last forecasts that were not exceeded
    trusted: bool  # a day was observed, and accuracy and coverage are sufficient


class ForecastState(Value, frozen=True, kw_only=True):
    """The part of the memory that changes a few times per slot. Tuples have an entry for each of
    `HORIZONS_S`."""

    profile: SeasonalProfile
    records: tuple[HorizonRecord, ...]
    pending_forecasts: tuple[PendingForecast | None, ...]
    next_forecast_at: tuple[float, ...]  # when the next pending forecast is made


class ForecastMemory(Value, frozen=True):
    """The memory of one load; about 16 kB."""

    at: float  # of the last measurement
    level: float  # mean load in erlangs, with the time constant `SMOOTHING_S`
    slow_level: float  # with the time constant `TREND_S`
    highest: float  # level since `state` was computed
    slot_erlang_s: float  # load measured in this slot
    slot_measured_s: float  # time covered by those measurements
    next_due_at: float  # when `state` has to be computed again
    state: ForecastState | None


class Forecaster(Value, frozen=True, kw_only=True):
    """Forecasts one load from its measurements. Pure: its memory is passed in and returned."""

    quantile: float = 0.95  # in (0.5, 1)

    def begin(self) -> ForecastMemory:
        """The memory before the first measurement."""
        return ForecastMemory(-math.inf, 0.0, 0.0, 0.0, 0.0, 0.0, -math.inf, None)

    def from_history(self, slots: Sequence[float], ends_at: float) -> ForecastMemory:
        """The memory after recorded slots of `SLOT_S` seconds.

        Args:
            slots: mean loads in erlangs, oldest first; nan where unknown.
            ends_at: end of the last slot, in Unix seconds, to the nearest slot.

        Margins are too wide at first for horizons shorter than a slot, and are corrected later.
        """
        memory, recent = self.begin(), slots[-SLOTS_PER_WEEK:]
        first = round(ends_at / SLOT_S) - len(recent) + 1
        for slot, load in enumerate(recent, first):
            memory = self.updated(memory, slot * SLOT_S, load, SLOT_S)
        return memory

    def updated(
        self, memory: ForecastMemory, at: float, load: float, interval_s: float
    ) -> ForecastMemory:
        """The memory after a measurement: `load` erlangs in the `interval_s` before `at`.

        After a gap, or when a clock was set, the levels start again; the profile is kept. An
        invalid load is ignored.
        """
        if not (0.0 <= load <= MAX_LEVEL and 0.0 < interval_s <= MAX_INTERVAL_S):
            return memory
        if not memory.at < at <= memory.at + interval_s + MAX_GAP_S:
            return self._restarted(memory, at, load, interval_s)
        # Exponential means, by the implicit Euler rule.
        level = memory.level
        level += interval_s / (interval_s + SMOOTHING_S) * (load - level)
        slow_level = memory.slow_level
        slow_level += interval_s / (interval_s + TREND_S) * (load - slow_level)
        now = ForecastMemory(
            at,
            level,
            slow_level,
            max(level, memory.highest),
            memory.slot_erlang_s + load * interval_s,
            memory.slot_measured_s + interval_s,
            memory.next_due_at,
            memory.state,
        )
        return now if at < memory.next_due_at else self._evaluated(now)

    def predict(self, memory: ForecastMemory, at: float, horizon_s: float) -> Forecast:
        """The highest load to expect in the `horizon_s` seconds after `at`, which is now."""
        state, quantile = memory.state, self.quantile
        if state is None:
            return Forecast(
                load=0.0,
                quantile=quantile,
                expected=0.0,
                accuracy=None,
                coverage=None,
                trusted=False,
            )
        longer = min(bisect_left(HORIZONS_S, horizon_s), len(HORIZONS_S) - 1)
        record = state.records[longer]
        calibration, errors = record.calibration, record.point_errors
        margin = calibration.margin
        if horizon_s < HORIZONS_S[longer] and longer > 0:
            shorter_s = HORIZONS_S[longer - 1]
            fraction = (HORIZONS_S[longer] - horizon_s) / (HORIZONS_S[longer] - shorter_s)
            margin += fraction * (state.records[longer - 1].calibration.margin - margin)
        points = point_forecasts(state.profile, at, memory.level, memory.slow_level, horizon_s)
        centre = record.centre(points)
        load = with_margin(centre, margin)
        return Forecast(
            load=load,
            quantile=quantile,
            expected=min(load, with_margin(centre, calibration.median)),
            accuracy=record.error / errors[-1] if errors[-1] else None,
            coverage=calibration.coverage if calibration.outcomes >= MIN_SCORES else None,
            trusted=state.profile.known >= SLOTS_PER_DAY
            and at - memory.at <= MAX_GAP_S
            and horizon_s <= HORIZONS_S[-1]
            and record.error <= MAX_ERROR_RATIO * min(errors[0], errors[-1])
            and calibration.coverage >= quantile - MAX_COVERAGE_SHORTFALL,
        )

    def _restarted(
        self, memory: ForecastMemory, at: float, load: float, interval_s: float
    ) -> ForecastMemory:
        """The memory after the first measurement, or the first one after a gap."""
        slot, state = int(at // SLOT_S), memory.state
        if state is None:
            profile = initial_profile(slot)
            records = (HorizonRecord(calibration=initial_calibration(self.quantile)),) * len(
                HORIZONS_S
            )
        else:
            profile, records = state.profile, state.records
            if profile.slot != slot - 1:
                profile = after_slot(profile, slot - 1, UNKNOWN)
        restarted = ForecastState(
            profile=profile,
            records=records,
            pending_forecasts=(None,) * len(HORIZONS_S),
            next_forecast_at=(at,) * len(HORIZONS_S),
        )
        return self._evaluated(
            ForecastMemory(at, load, load, 0.0, load * interval_s, interval_s, at, restarted)
        )

    def _evaluated(self, memory: ForecastMemory) -> ForecastMemory:
        """Ends the slot, and scores and makes the forecasts that are due."""
        state, at = memory.state, memory.at
        assert state is not None
        profile, erlang_s, seconds = state.profile, memory.slot_erlang_s, memory.slot_measured_s
        if at >= (profile.slot + 2) * SLOT_S:
            mean = erlang_s / seconds if seconds >= SLOT_S / 2.0 else UNKNOWN
            profile = after_slot(profile, int(at // SLOT_S) - 1, mean)
            erlang_s = seconds = 0.0
        next_due_at = (profile.slot + 2) * SLOT_S
        records, pending_forecasts, next_forecast_at = (
            list(state.records),
            list(state.pending_forecasts),
            list(state.next_forecast_at),
        )
        for index, forecast in enumerate(state.pending_forecasts):
            if forecast is not None:
                highest = max(forecast.highest, memory.highest)
                if at >= forecast.due_at:
                    records[index] = scored(
                        records[index], self.quantile, forecast, highest, memory.level
                    )
                    pending_forecasts[index] = None
                elif highest > forecast.highest:
                    pending_forecasts[index] = replace(forecast, highest=highest)
            if pending_forecasts[index] is None and at >= next_forecast_at[index]:
                horizon_s = HORIZONS_S[index]
                pending_forecasts[index] = pending_forecast(
                    profile, at, memory.level, memory.slow_level, horizon_s
                )
                next_forecast_at[index] = (
                    at + math.ceil(horizon_s / EVALUATION_INTERVAL_S) * EVALUATION_INTERVAL_S
                )
            open_forecast = pending_forecasts[index]
            next_due_at = min(
                next_due_at,
                next_forecast_at[index] if open_forecast is None else open_forecast.due_at,
            )
        return ForecastMemory(
            at,
            memory.level,
            memory.slow_level,
            0.0,
            erlang_s,
            seconds,
            next_due_at,
            ForecastState(
                profile=profile,
                records=tuple(records),
                pending_forecasts=tuple(pending_forecasts),
                next_forecast_at=tuple(next_forecast_at),
            ),
        )
