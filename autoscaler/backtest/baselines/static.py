"""A fixed number of allocations, as most deployments have."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

POLL_INTERVAL_S = 60.0

AT_PEAK, AT_MEAN = 0.9, 0.7
"""Usual utilisation targets for sizing a fixed number of allocations.

`AT_PEAK` applies to the busiest minute, `AT_MEAN` to the mean load.
"""


def for_load(load: float, utilisation: float) -> int:
    """The fewest allocations, at least 1, with which a load in erlangs stays within a utilisation.

    >>> for_load(9.1, AT_PEAK)
    11
    """
    return max(1, round_up(load / utilisation))


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


class Static(Value, frozen=True, kw_only=True):
    """Always the same allocations."""

    name: ClassVar[str] = "static"
    poll_interval_s: ClassVar[float] = POLL_INTERVAL_S
    sampling_s: ClassVar[float] = POLL_INTERVAL_S
    load_window_s: ClassVar[float] = POLL_INTERVAL_S

    allocations: int

    def begin(self) -> None:
        """Without state."""

    def recommend(self, situation: Situation, memory: None) -> tuple[Step, None]:
        """The fixed allocations."""
        return Step(Reason.RECOMMENDATION, situation.current, self.allocations), None
