"""Liveness and readiness of the daemon."""

from autoscaler.core.decision import Outcome, Plan
from autoscaler.core.units import duration_text
from autoscaler.core.values import Observation
from autoscaler.ports import Clock, CycleTimes, Leadership, ObservationFailed

ALIVE_PERIODS, ALIVE_AT_LEAST_S = 10, 120.0
"""Poll intervals, and seconds at least, without a completed cycle until the daemon is not alive.

Long, because a cycle is as slow as the cluster, and a restart loses the stabilisation windows. An
unreachable cluster does not count: the cycle ends, skipped.
"""

ALIVE_TIMEOUTS = 3
"""Request time-outs, at least, of the same limit. A request takes up to two, so with a long
request_timeout one cycle may take longer than the limits above."""

READY_PERIODS, READY_AT_LEAST_S = 9, 30.0
"""Poll intervals, and seconds at least, without an observation until the daemon is not ready, even
if none has failed.

9, because a slow cluster is polled up to three times less often. A failed observation has an effect
at once: the deployments are not scaled, and a probe has its own threshold for single failures.
"""


class Health:
    """A Recorder that keeps the times of the last cycle and of the last observation."""

    def __init__(
        self, clock: Clock, poll_interval_s: float, request_timeout_s: float = 0.0
    ) -> None:
        self.poll_interval_s = poll_interval_s  # may change with the configuration
        self._request_timeout_s = request_timeout_s
        self._clock = clock
        self._progress_at = clock.now()
        self._observed_at: float | None = None
        self._failure = ""
        self.leadership: Leadership | None = None  # None: this is the only instance

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._progress_at = self._clock.now()
        self._observed_at, self._failure = observation.at, ""

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._progress_at = self._clock.now()
        self._failure = str(failure)

    @property
    def limit_s(self) -> float:
        """Seconds without a completed cycle until the daemon is not alive."""
        return max(
            ALIVE_PERIODS * self.poll_interval_s,
            ALIVE_TIMEOUTS * self._request_timeout_s,
            ALIVE_AT_LEAST_S,
        )

    def why_not_alive(self) -> str | None:
        """None while the control loop completes cycles, even if the cluster is unreachable."""
        idle_s = self._clock.now() - self._progress_at
        if idle_s <= self.limit_s:
            return None
        return f"the control loop has not completed a cycle for {duration_text(idle_s)}"

    def why_not_ready(self) -> str | None:
        """None while the latest observation succeeded and is recent."""
        failure = f": {self._failure}" if self._failure else ""
        if self._observed_at is None:
            return f"the cluster has not been observed yet{failure}"
        age_s = self._clock.now() - self._observed_at
        recent = age_s <= max(READY_PERIODS * self.poll_interval_s, READY_AT_LEAST_S)
        if recent and not failure:
            return None
        return f"the cluster was last observed {duration_text(age_s)} ago{failure}"

    def role(self) -> str:
        """Whether this instance leads, for a response of a probe. A follower is ready, too: it
        observes the cluster, and takes over when it can."""
        if self.leadership is None:
            return "ok"
        name, leader, failure = (
            self.leadership.name,
            self.leadership.leader,
            self.leadership.failure,
        )
        failing = f"; the lease cannot be read or renewed: {failure}" if failure else ""
        if self.leadership.leads():
            return f"ok: this instance, {name}, leads{failing}"
        follows = f"; {leader} leads" if leader else ""
        return f"ok: this instance, {name}, does not lead{follows}{failing}"
