"""KEDA: activation between none and some, and a horizontal pod autoscaler from one on.

Source: kedacore/keda, `pkg/scaling`; the defaults of a `ScaledObject`.
"""

from typing import ClassVar

from autoscaler.backtest.baselines.hpa import SYNC_S, Hpa, ScalingHistory
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

POLL_INTERVAL_S = 30.0
"""How often it asks whether there is anything to do."""

COOL_DOWN_S = 300.0
"""How long there must have been nothing to do before the last allocation goes."""


class KedaMemory(Value, frozen=True, kw_only=True):
    """What it remembers of a deployment."""

    course: ScalingHistory = ScalingHistory()
    polled_at: float | None = None
    active_at: float = 0.0  # when a poll last found something, or the first poll


class Keda(Value, frozen=True, kw_only=True):
    """Requests in flight at a target for each allocation, and none when nobody asks."""

    name: ClassVar[str] = "keda"
    poll_interval_s: ClassVar[float] = SYNC_S
    sampling_s: ClassVar[float] = SYNC_S
    load_window_s: ClassVar[float] = SYNC_S

    scaler: Hpa
    minimum: int = 1  # above 0, there is nothing to activate

    def begin(self) -> KedaMemory:
        """It has not polled yet."""
        return KedaMemory()

    def recommend(self, situation: Situation, memory: KedaMemory) -> tuple[Step, KedaMemory]:
        """To one or none where a poll says so; otherwise the scaler's number, at least one."""
        at, current = situation.at, situation.current
        polled_at, active_at, in_flight = (
            memory.polled_at,
            memory.active_at,
            situation.in_flight[-1],
        )
        polls = polled_at is None or at - polled_at >= POLL_INTERVAL_S
        if polls:
            active_at = at if in_flight > 0 or polled_at is None else active_at
            polled_at = at
        course = memory.course
        if current == 0:
            after = max(self.minimum, int(polls and in_flight > 0))
        elif self.minimum == 0 and polls and at - active_at >= COOL_DOWN_S:
            after = 0
        else:
            step, course = self.scaler.recommend(situation, course)
            after = max(1, step.after)
        remembered = KedaMemory(course=course, polled_at=polled_at, active_at=active_at)
        inputs = {"in_flight": in_flight}
        return Step(Reason.RECOMMENDATION, current, after, inputs), remembered
