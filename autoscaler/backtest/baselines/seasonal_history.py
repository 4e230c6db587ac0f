"""The load by time of day and week, and the peak expected from it.

The cloud providers do not document their forecasts, only that they find daily and weekly patterns.
Here a forecast is the mean of the same minutes of earlier weeks, or of earlier days while less than
a week is known.
"""

import math

from autoscaler.backtest.baselines.baseline import LoadHistoryView, offered_loads
from autoscaler.core.policies import Situation
from autoscaler.core.values import Value

SLOT_S = 300.0
DAY = 288  # slots
WEEK = 7 * DAY
MAX_HISTORY = 2 * WEEK
"""Slots that are kept: two weeks, so that a weekly mean has two values."""


class SeasonalHistory(Value, frozen=True, kw_only=True):
    """The load of the last two weeks, slot by slot."""

    loads: tuple[float, ...] = ()  # mean of each slot in erlangs, oldest first
    ends_at: float | None = (
        None  # end of the last slot; None: about the start of the first interval
    )
    work_s: float = 0.0  # allocation-seconds worked since then
    observed_s: float = 0.0  # seconds that `work_s` covers

    @staticmethod
    def of(history: LoadHistoryView) -> "SeasonalHistory":
        """The load of a recorded history."""
        return SeasonalHistory(loads=tuple(offered_loads(history, SLOT_S).tolist()[-MAX_HISTORY:]))

    def after(self, situation: Situation) -> "SeasonalHistory":
        """The history after one more poll."""
        at, sample = situation.at, situation.sample
        # Slots are aligned to the clock, so that hours and days consist of whole slots.
        ends_at = self.ends_at
        if ends_at is None:
            ends_at = SLOT_S * round((at - sample.interval_s) / SLOT_S)
        work_s, observed_s = self.work_s + sample.busy_s, self.observed_s + sample.interval_s
        slots = int((at - ends_at) / SLOT_S)
        if slots < 1:
            return SeasonalHistory(
                loads=self.loads, ends_at=ends_at, work_s=work_s, observed_s=observed_s
            )
        loads = self.loads + (work_s / observed_s,) * min(slots, MAX_HISTORY)
        return SeasonalHistory(loads=loads[-MAX_HISTORY:], ends_at=ends_at + slots * SLOT_S)

    def peak(self, first_at: float, last_at: float) -> float:
        """The highest load expected between two instants, in erlangs; 0 if it is unknown.

        It needs at least one poll.
        """
        assert self.ends_at is not None, "a peak needs at least one poll"
        known = len(self.loads)
        first = known + math.floor((first_at - self.ends_at) / SLOT_S)
        last = known + math.ceil((last_at - self.ends_at) / SLOT_S)
        return max([self._expected(slot) for slot in range(max(0, first), last)], default=0.0)

    def _expected(self, slot: int) -> float:
        """By the index of the slot, counted from the oldest slot kept."""
        period = WEEK if slot >= WEEK else DAY
        alike = self.loads[slot % period : slot : period]
        return sum(alike) / len(alike) if alike else 0.0
