"""The highest load to expect within the next minutes, and how far that can be relied on.

    levels     a fast and a slow mean of the measured load
    season     the profile of the day and of the week                            seasonality
    centre     the load that follows from these at the end of the horizon        probes
    margin     by which it rose above the centre in earlier cases                calibration
    forecast   centre and margin, how well such forecasts did, and whether to trust them

All of it is learnt while loads come in, from forecasts that are made now and then and judged when
their time has come. The choice of parts: docs/decisions/0021-a-forecast-that-doubts-itself.md.
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
"""For which forecasts are judged. In between, margins are interpolated; beyond, none is trusted."""

EVALUATION_INTERVAL_S = 430.0
"""Between two forecasts that are judged, unless the horizon is longer. Not a multiple of a minute,
nor of anything else that people set their clocks to, so that each distance from those is met."""

MAX_GAP_S = 120.0
"""Longest time without a measurement before which a forecast is not judged, nor made."""

MAX_INTERVAL_S = SLOTS_PER_DAY * SLOT_S
"""Beyond this, what was measured is no present load."""

MAX_ERROR_RATIO = 1.1
"""Times the error of a naive forecast, yesterday's load or the present one, above which ours is not
trusted. Where nothing but noise is left to foretell, all are equal but for chance."""

MAX_COVERAGE_SHORTFALL = 0.1
"""How far the measured coverage may be below the promised one."""


class Forecast(Value, frozen=True, kw_only=True):
    """What to expect of the highest load within a horizon: erlangs, smoothed over a minute."""

    load: float  # not exceeded with probability `quantile`
    quantile: float
    expected: float  # as likely exceeded as not
    # Mean error at the horizon over that of yesterday's load; of now's, while there is no other.
    accuracy: float | None
    coverage: float | None  # share of the last forecasts that were not exceeded
    trusted: bool  # whether a day was seen, it is not worse than naive, and covers enough


class ForecastState(Value, frozen=True, kw_only=True):
    """What changes a few times in a slot. Tuples have an entry for each of `HORIZONS_S`."""

    season: SeasonalProfile
    records: tuple[HorizonRecord, ...]
    probes: tuple[PendingForecast | None, ...]
    probe_at: tuple[float, ...]  # when the next one is made


class ForecastMemory(Value, frozen=True):
    """What a forecaster knows of one load; about 16 kB."""

    at: float  # of the last measurement
    level: float
    slow_level: float  # a slower mean
    highest: float  # level since `learnt` was made
    work: float  # erlang-seconds measured in this slot
    seconds: float  # of them
    next_due_at: float  # when `learnt` has to change
    learnt: ForecastState | None


class Forecaster(Value, frozen=True, kw_only=True):
    """Learns one load from its measurements. Pure: its memory is handed in and out."""

    quantile: float = 0.95  # in (0.5, 1)

    def begin(self) -> ForecastMemory:
        """What it knows of a load that it has never seen."""
        return ForecastMemory(-math.inf, 0.0, 0.0, 0.0, 0.0, 0.0, -math.inf, None)

    def from_history(self, slots: Sequence[float], ends_at: float) -> ForecastMemory:
        """What it knows after slots of `SLOT_S` seconds that were recorded.

        Args:
            slots: mean loads in erlangs, oldest first; nan where none is known.
            ends_at: when the last one ended, in Unix seconds, to the nearest slot.

        Margins begin too wide for horizons shorter than a slot, and are then learnt.
        """
        memory, past = self.begin(), slots[-SLOTS_PER_WEEK:]
        first = round(ends_at / SLOT_S) - len(past) + 1
        for number, load in enumerate(past, first):
            memory = self.updated(memory, number * SLOT_S, load, SLOT_S)
        return memory

    def updated(
        self, memory: ForecastMemory, at: float, load: float, interval_s: float
    ) -> ForecastMemory:
        """What it knows after a measurement: `load` erlangs in the `interval_s` before `at`.

        After a gap, or when a clock was set, levels begin anew; what the season says is kept. A
        load that is no sensible number is as good as none.
        """
        if not (0.0 <= load <= MAX_LEVEL and 0.0 < interval_s <= MAX_INTERVAL_S):
            return memory
        if not memory.at < at <= memory.at + interval_s + MAX_GAP_S:
            return self._restarted(memory, at, load, interval_s)
        # The gains of a mean that forgets with a time constant, by the implicit rule.
        level = memory.level
        level += interval_s / (interval_s + SMOOTHING_S) * (load - level)
        slow_level = memory.slow_level
        slow_level += interval_s / (interval_s + TREND_S) * (load - slow_level)
        now = ForecastMemory(
            at,
            level,
            slow_level,
            max(level, memory.highest),
            memory.work + load * interval_s,
            memory.seconds + interval_s,
            memory.next_due_at,
            memory.learnt,
        )
        return now if at < memory.next_due_at else self._evaluated(now)

    def predict(self, memory: ForecastMemory, at: float, horizon_s: float) -> Forecast:
        """The highest load to expect in the `horizon_s` seconds after `at`, which is now."""
        learnt, quantile = memory.learnt, self.quantile
        if learnt is None:
            return Forecast(
                load=0.0,
                quantile=quantile,
                expected=0.0,
                accuracy=None,
                coverage=None,
                trusted=False,
            )
        longer = min(bisect_left(HORIZONS_S, horizon_s), len(HORIZONS_S) - 1)
        record = learnt.records[longer]
        calibration, errors = record.calibration, record.guess_errors
        margin = calibration.margin
        if horizon_s < HORIZONS_S[longer] and longer > 0:
            shorter_s = HORIZONS_S[longer - 1]
            share = (HORIZONS_S[longer] - horizon_s) / (HORIZONS_S[longer] - shorter_s)
            margin += share * (learnt.records[longer - 1].calibration.margin - margin)
        guesses = point_forecasts(learnt.season, at, memory.level, memory.slow_level, horizon_s)
        centre = record.centre(guesses)
        load = with_margin(centre, margin)
        return Forecast(
            load=load,
            quantile=quantile,
            expected=min(load, with_margin(centre, calibration.median)),
            accuracy=record.error / errors[-1] if errors[-1] else None,
            coverage=calibration.coverage if calibration.outcomes >= MIN_SCORES else None,
            trusted=learnt.season.known >= SLOTS_PER_DAY
            and at - memory.at <= MAX_GAP_S
            and horizon_s <= HORIZONS_S[-1]
            and record.error <= MAX_ERROR_RATIO * min(errors[0], errors[-1])
            and calibration.coverage >= quantile - MAX_COVERAGE_SHORTFALL,
        )

    def _restarted(
        self, memory: ForecastMemory, at: float, load: float, interval_s: float
    ) -> ForecastMemory:
        """After a first measurement, or the first after a gap."""
        slot, learnt = int(at // SLOT_S), memory.learnt
        if learnt is None:
            season = initial_profile(slot)
            records = (HorizonRecord(calibration=initial_calibration(self.quantile)),) * len(
                HORIZONS_S
            )
        else:
            season, records = learnt.season, learnt.records
            if season.number != slot - 1:
                season = after_slot(season, slot - 1, UNKNOWN)
        fresh = ForecastState(
            season=season,
            records=records,
            probes=(None,) * len(HORIZONS_S),
            probe_at=(at,) * len(HORIZONS_S),
        )
        return self._evaluated(
            ForecastMemory(at, load, load, 0.0, load * interval_s, interval_s, at, fresh)
        )

    def _evaluated(self, memory: ForecastMemory) -> ForecastMemory:
        """Ends the slot and judges and makes forecasts, so far as it is time to."""
        learnt, at = memory.learnt, memory.at
        assert learnt is not None
        season, work, seconds = learnt.season, memory.work, memory.seconds
        if at >= (season.number + 2) * SLOT_S:
            mean = work / seconds if seconds >= SLOT_S / 2.0 else UNKNOWN
            season = after_slot(season, int(at // SLOT_S) - 1, mean)
            work = seconds = 0.0
        next_due_at = (season.number + 2) * SLOT_S
        records, probes, probe_at = list(learnt.records), list(learnt.probes), list(learnt.probe_at)
        for index, probe in enumerate(learnt.probes):
            if probe is not None:
                highest = max(probe.highest, memory.highest)
                if at >= probe.due_at:
                    records[index] = scored(
                        records[index], self.quantile, probe, highest, memory.level
                    )
                    probes[index] = None
                elif highest > probe.highest:
                    probes[index] = replace(probe, highest=highest)
            if probes[index] is None and at >= probe_at[index]:
                horizon_s = HORIZONS_S[index]
                probes[index] = pending_forecast(
                    season, at, memory.level, memory.slow_level, horizon_s
                )
                probe_at[index] = (
                    at + math.ceil(horizon_s / EVALUATION_INTERVAL_S) * EVALUATION_INTERVAL_S
                )
            waiting = probes[index]
            next_due_at = min(next_due_at, probe_at[index] if waiting is None else waiting.due_at)
        return ForecastMemory(
            at,
            memory.level,
            memory.slow_level,
            0.0,
            work,
            seconds,
            next_due_at,
            ForecastState(
                season=season,
                records=tuple(records),
                probes=tuple(probes),
                probe_at=tuple(probe_at),
            ),
        )
