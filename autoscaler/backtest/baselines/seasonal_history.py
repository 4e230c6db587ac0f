"""Days and weeks of load, and what they promise for now.

The clouds do not say how they forecast, but for what they look for: patterns of a day and of a
week. Here a forecast is the mean of the same minutes of the weeks before, or of the days before
while less than a week is known.
"""

import math

from autoscaler.backtest.baselines.baseline import LoadHistoryView, offered_loads
from autoscaler.core.policies import Situation
from autoscaler.core.values import Value

SLOT_S = 300.0
DAY = 288  # slots
WEEK = 7 * DAY
MAX_HISTORY_S = 2 * WEEK


class SeasonalHistory(Value, frozen=True, kw_only=True):
    """The load of the last two weeks, slot by slot."""

    loads: tuple[float, ...] = ()  # mean of each slot in erlangs, oldest first
    ends_at: float | None = None  # the last of them; None: about where the first interval begins
    work_s: float = 0.0  # allocation-seconds done since,
    watched_s: float = 0.0  # in so much time

    @staticmethod
    def of(history: LoadHistoryView) -> "SeasonalHistory":
        """What is known after such a past."""
        return SeasonalHistory(
            loads=tuple(offered_loads(history, SLOT_S).tolist()[-MAX_HISTORY_S:])
        )

    def after(self, situation: Situation) -> "SeasonalHistory":
        """What is known after one more look."""
        at, sample = situation.at, situation.sample
        # Slots are those of the clock, so that hours and days are made of whole ones.
        ends_at = self.ends_at
        if ends_at is None:
            ends_at = SLOT_S * round((at - sample.interval_s) / SLOT_S)
        work_s, watched_s = self.work_s + sample.busy_s, self.watched_s + sample.interval_s
        slots = int((at - ends_at) / SLOT_S)
        if slots < 1:
            return SeasonalHistory(
                loads=self.loads, ends_at=ends_at, work_s=work_s, watched_s=watched_s
            )
        loads = self.loads + (work_s / watched_s,) * min(slots, MAX_HISTORY_S)
        return SeasonalHistory(loads=loads[-MAX_HISTORY_S:], ends_at=ends_at + slots * SLOT_S)

    def peak(self, first_at: float, last_at: float) -> float:
        """The highest load to be expected between two instants, in erlangs; 0 if nobody knows.

        Only once something was looked at.
        """
        assert self.ends_at is not None, "nothing was looked at yet"
        known = len(self.loads)
        first = known + math.floor((first_at - self.ends_at) / SLOT_S)
        last = known + math.ceil((last_at - self.ends_at) / SLOT_S)
        return max([self._expected(slot) for slot in range(max(0, first), last)], default=0.0)

    def _expected(self, slot: int) -> float:
        """By the number of the slot, the first one that is remembered being number 0."""
        period = WEEK if slot >= WEEK else DAY
        alike = self.loads[slot % period : slot : period]
        return sum(alike) / len(alike) if alike else 0.0
