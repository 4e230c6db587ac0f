"""The allocations that would be right, limits aside. A policy is one object behind one method."""

import math
from typing import ClassVar, Protocol

from autoscaler.core.values import LoadEstimate, Reason, Step, Value


class ScalingPolicy(Protocol):
    """Chooses a number of allocations for a load. Pure: equal arguments, equal step."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def load_window_s(self) -> float:
        """How long a stretch the load it is given should be measured over, in seconds."""

    def recommend(self, load: LoadEstimate, current: int) -> Step:
        """The step from `current` allocations to those that suit `load`."""


class Utilisation(Value, frozen=True, kw_only=True):
    """Target tracking: as many allocations as keep utilisation at its target."""

    name: ClassVar[str] = "utilisation"

    target: float  # fraction of its allocations a deployment should keep busy, in (0, 1)
    load_window_s: float

    def recommend(self, load: LoadEstimate, current: int) -> Step:
        """Allocations that bring utilisation to its target; the present number if the load is
        unknown because nothing was ever completed.

        >>> from autoscaler.core.values import LoadEstimate, Value
        >>> load = LoadEstimate(
        ...     arrival_rate_per_s=49.0,
        ...     throughput_per_s=30.0,
        ...     service_time_s=0.1,
        ...     cache_hit_fraction=0.0,
        ...     pending=190,
        ...     window_s=60.0,
        ... )
        >>> Utilisation(target=0.7, load_window_s=60.0).recommend(load, 3).after
        7
        """
        offered_load = load.offered_load
        if offered_load is None:
            return Step(Reason.NOT_MEASURED, current, current)
        # Without the tolerance, 4.9 / 0.7 = 7.000000000000001 would ask for an eighth.
        after = math.ceil(offered_load / self.target - 1e-9)
        because = {"offered_load": offered_load, "target_utilisation": self.target}
        return Step(Reason.TARGET_TRACKING, current, after, because)
