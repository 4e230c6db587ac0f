"""Target tracking on the true load of the ten seconds that begin now.

It shows what perfect measurement would achieve. It knows neither later load nor the queue.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

POLL_INTERVAL_S = 10.0


def true_loads(
    elapsed_s: NDArray[np.float64], work_s: NDArray[np.float64], duration_s: float, slot_s: float
) -> NDArray[np.float64]:
    """Offered load, in erlangs, of each slot: the work that arrives in it over its length.

    Args:
        elapsed_s: when each request arrives, since the beginning of the first slot.
        work_s: allocation-seconds that each request takes.
        duration_s: when the load ends; the last slot is cut short there.
    """
    slots = max(1, int(np.ceil(duration_s / slot_s)))
    index = np.minimum((elapsed_s / slot_s).astype(np.int64), slots - 1)
    lengths = np.minimum(slot_s, duration_s - slot_s * np.arange(slots))
    loads: NDArray[np.float64] = np.bincount(index, weights=work_s, minlength=slots) / lengths
    return loads


class ZeroLagOracle(Value, frozen=True, kw_only=True):
    """The allocations that keep utilisation at its target, given the true load."""

    name: ClassVar[str] = "zero-lag-oracle"
    poll_interval_s: ClassVar[float] = POLL_INTERVAL_S
    sampling_s: ClassVar[float] = POLL_INTERVAL_S
    load_window_s: ClassVar[float] = POLL_INTERVAL_S

    target: float  # utilisation, a fraction
    start: float  # Unix seconds at which the first slot begins
    loads: tuple[float, ...]  # erlangs, one value for each ten seconds

    def begin(self) -> None:
        """Without state."""

    def recommend(self, situation: Situation, memory: None) -> tuple[Step, None]:
        """The need of the slot that begins now; held after the last slot."""
        current, slot = situation.current, int((situation.at - self.start) / POLL_INTERVAL_S)
        if not 0 <= slot < len(self.loads):
            return Step(Reason.NOT_MEASURED, current, current), None
        load = self.loads[slot]
        inputs = {"offered_load": load, "target_utilisation": self.target}
        return Step(Reason.RECOMMENDATION, current, round_up(load / self.target), inputs), None
