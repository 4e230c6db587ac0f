"""Whether the daemon does its work."""

from autoscaler.core.values import Observation, Outcome, Plan
from autoscaler.ports import Clock, CycleTimes, ObservationFailed

ALIVE_PERIODS, ALIVE_AT_LEAST_S = 10, 120.0
"""A cycle may be as slow as the cluster is, so a loop without progress gets some patience.

Being restarted costs the memory of the stabilisation windows; a cluster that is down is no reason.
"""

READY_PERIODS, READY_AT_LEAST_S = 9, 30.0
"""A cluster that is slow to answer is asked up to three times less often, and one lost answer is
normal; three in a row are not."""


class Health:
    """A Recorder that keeps when the loop last turned and when it last saw the cluster."""

    def __init__(self, clock: Clock, poll_interval_s: float) -> None:
        self.poll_interval_s = poll_interval_s  # may change with the configuration
        self._clock = clock
        self._progress_at = clock.now()
        self._observed_at: float | None = None
        self._failure = ""

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._progress_at = self._clock.now()
        self._observed_at, self._failure = observation.at, ""

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._progress_at = self._clock.now()
        self._failure = str(failure)

    def why_not_alive(self) -> str | None:
        """None while the control loop turns; it need not reach the cluster for that."""
        idle_s = self._clock.now() - self._progress_at
        if idle_s <= max(ALIVE_PERIODS * self.poll_interval_s, ALIVE_AT_LEAST_S):
            return None
        return f"the control loop has not completed a cycle for {idle_s:.0f} s"

    def why_not_ready(self) -> str | None:
        """None while decisions are made from fresh statistics."""
        failure = f": {self._failure}" if self._failure else ""
        if self._observed_at is None:
            return f"the cluster has not been observed yet{failure}"
        age_s = self._clock.now() - self._observed_at
        if age_s <= max(READY_PERIODS * self.poll_interval_s, READY_AT_LEAST_S):
            return None
        return f"the cluster was last observed {age_s:.0f} s ago{failure}"
