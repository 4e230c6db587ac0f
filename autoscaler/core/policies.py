"""The allocations that would be right, limits aside. A policy is one object behind one method."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from autoscaler.core.values import LoadEstimate, NodeStats, Reason, Sample, Step, Value

Memory = TypeVar("Memory")


class Situation(Value, frozen=True, kw_only=True):
    """All that a policy may look at, measured without flaw."""

    at: float
    current: int  # allocations requested
    live: int  # of those, serving now
    sample: Sample  # what happened since the last look
    load: LoadEstimate  # over the policy's own window
    # Requests queued or in service at equally spaced instants since the last look, the last of
    # them now. A poll knows one; a faster sampler, more.
    in_flight: tuple[int, ...]
    nodes: tuple[NodeStats, ...] = ()  # that the deployment has routes to
    threads: int = 1  # of each allocation
    free_threads: Mapping[str, int] = {}  # of each ML node by its id, if the cluster has told


class ScalingPolicy(Protocol[Memory]):
    """Chooses a number of allocations. Pure: what it remembers is handed to it and returned."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def load_window_s(self) -> float:
        """How long a stretch the load it is given should be measured over, in seconds."""

    def begin(self) -> Memory:
        """What it knows of a deployment that it has never seen. An immutable value."""

    def recommend(self, situation: Situation, memory: Memory) -> tuple[Step, Memory]:
        """The step from the current allocations to those that would suit, and what it then
        remembers. Bounds and other limits are not its business."""


AnyPolicy = ScalingPolicy[Any]


class Utilisation(Value, frozen=True, kw_only=True):
    """Target tracking: as many allocations as keep utilisation at its target."""

    name: ClassVar[str] = "utilisation"

    target: float  # fraction of its allocations a deployment should keep busy, in (0, 1)
    load_window_s: float

    def begin(self) -> None:
        """Nothing: the load says it all."""

    def recommend(self, situation: Situation, memory: None) -> tuple[Step, None]:
        """Allocations that bring utilisation to its target; the present number if the load is
        unknown because nothing was ever completed.

        >>> from autoscaler.core.values import LoadEstimate, Sample
        >>> load = LoadEstimate(
        ...     arrival_rate_per_s=49.0,
        ...     throughput_per_s=30.0,
        ...     service_time_s=0.1,
        ...     cache_hit_fraction=0.0,
        ...     pending=190,
        ...     window_s=60.0,
        ... )
        >>> sample = Sample(at=60.0, interval_s=10.0)
        >>> now = Situation(
        ...     at=60.0, current=3, live=3, sample=sample, load=load, in_flight=(190,)
        ... )
        >>> step, _ = Utilisation(target=0.7, load_window_s=60.0).recommend(now, None)
        >>> step.after
        7
        """
        current, offered_load = situation.current, situation.load.offered_load
        if offered_load is None:
            return Step(Reason.NOT_MEASURED, current, current), None
        # Without the tolerance, 4.9 / 0.7 = 7.000000000000001 would ask for an eighth.
        after = math.ceil(offered_load / self.target - 1e-9)
        because = {"offered_load": offered_load, "target_utilisation": self.target}
        return Step(Reason.TARGET_TRACKING, current, after, because), None
