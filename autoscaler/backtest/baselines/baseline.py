"""What a baseline needs beyond a policy, and the load history that some learn from."""

from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.policies import ScalingPolicy

Memory = TypeVar("Memory")


@runtime_checkable
class Baseline(ScalingPolicy[Memory], Protocol[Memory]):
    """A policy with its own poll interval."""

    @property
    def poll_interval_s(self) -> float:
        """Seconds from poll to poll."""

    @property
    def sampling_s(self) -> float:
        """Seconds between samples of the in-flight requests, taken between polls."""


AnyBaseline = Baseline[Any]


class LoadHistoryView(Protocol):
    """The load before the first poll, in equal steps; the last one ends when the run begins."""

    @property
    def step_s(self) -> float: ...

    @property
    def arrivals(self) -> NDArray[np.int64]:
        """Requests in each step, oldest first."""

    @property
    def service_time_s(self) -> float:
        """Mean, in seconds."""


@runtime_checkable
class AcceptsHistory(Protocol):
    """A policy that can begin with a recorded load history."""

    def from_history(
        self, history: LoadHistoryView, min_allocations: int, max_allocations: int
    ) -> Any:
        """The state of a policy that ran throughout the history, within these limits.

        It replaces that of `begin`.
        """


def offered_loads(history: LoadHistoryView, slot_s: float) -> NDArray[np.float64]:
    """Mean offered load, in erlangs, of each whole slot of the history, oldest first.

    Args:
        slot_s: a multiple of the history's step.
    """
    steps = max(1, round(slot_s / history.step_s))
    slots = len(history.arrivals) // steps
    counts = history.arrivals[len(history.arrivals) - slots * steps :].reshape(slots, steps)
    arrivals = counts.sum(axis=1, dtype=np.float64)
    loads: NDArray[np.float64] = arrivals * (history.service_time_s / (steps * history.step_s))
    return loads
