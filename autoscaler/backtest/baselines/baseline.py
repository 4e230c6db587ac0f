"""What a laboratory needs to run a peer, and the past that some learn from."""

from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.policies import ScalingPolicy

Memory = TypeVar("Memory")


@runtime_checkable
class Baseline(ScalingPolicy[Memory], Protocol[Memory]):
    """A policy with a rhythm of its own."""

    @property
    def poll_interval_s(self) -> float:
        """Seconds from look to look."""

    @property
    def sampling_s(self) -> float:
        """Seconds between the samples of requests in flight that it wants in between."""


AnyBaseline = Baseline[Any]


class LoadHistoryView(Protocol):
    """The load before the first look, in equal steps, the last of which ends where it begins."""

    @property
    def step_s(self) -> float: ...

    @property
    def arrivals(self) -> NDArray[np.int64]:
        """Requests, a step each, oldest first."""

    @property
    def service_time_s(self) -> float:
        """Mean."""


@runtime_checkable
class AcceptsHistory(Protocol):
    """A policy that may begin with what was recorded before it came."""

    def from_history(self, history: LoadHistoryView, minimum: int, maximum: int) -> Any:
        """What it remembers having seen all that, with so many allocations at least and at most.

        Takes the place of `begin`.
        """


def offered_loads(history: LoadHistoryView, slot_s: float) -> NDArray[np.float64]:
    """Mean offered load, in erlangs, of each whole slot of the past, oldest first.

    Args:
        slot_s: a whole number of the past's steps.
    """
    steps = max(1, round(slot_s / history.step_s))
    slots = len(history.arrivals) // steps
    arrivals = (
        history.arrivals[len(history.arrivals) - slots * steps :].reshape(slots, steps).sum(axis=1)
    )
    loads: NDArray[np.float64] = arrivals * (history.service_time_s / (steps * history.step_s))
    return loads
