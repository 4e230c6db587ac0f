"""KEDA: activation between 0 and 1 allocations, and a horizontal pod autoscaler from 1 on.

Source: kedacore/keda, `pkg/scaling`; the defaults of a `ScaledObject`.
"""

from typing import ClassVar

from autoscaler.backtest.baselines.hpa import SYNC_S, Hpa, ScalingHistory
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

POLL_INTERVAL_S = 30.0
"""Seconds between polls of the trigger, the default of a `ScaledObject`."""

COOL_DOWN_S = 300.0
"""Seconds without activity until the last allocation is removed, the default likewise."""


class KedaMemory(Value, frozen=True, kw_only=True):
    """The state of the scaler and of the activation."""

    history: ScalingHistory = ScalingHistory()
    polled_at: float | None = None
    active_at: float = 0.0  # when a poll last found in-flight requests; else the first poll


class Keda(Value, frozen=True, kw_only=True):
    """In-flight requests per allocation at a target, and 0 allocations while there are none."""

    name: ClassVar[str] = "keda"
    poll_interval_s: ClassVar[float] = SYNC_S
    sampling_s: ClassVar[float] = SYNC_S
    load_window_s: ClassVar[float] = SYNC_S

    scaler: Hpa
    min_allocations: int = 1  # above 0, activation is not needed

    def begin(self) -> KedaMemory:
        """No poll yet."""
        return KedaMemory()

    def recommend(self, situation: Situation, memory: KedaMemory) -> tuple[Step, KedaMemory]:
        """0 or 1 by activation; otherwise the scaler's recommendation, at least 1."""
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
        history = memory.history
        if current == 0:
            after = max(self.min_allocations, int(polls and in_flight > 0))
        elif self.min_allocations == 0 and polls and at - active_at >= COOL_DOWN_S:
            after = 0
        else:
            step, history = self.scaler.recommend(situation, history)
            after = max(1, step.after)
        remembered = KedaMemory(history=history, polled_at=polled_at, active_at=active_at)
        inputs = {"in_flight": in_flight}
        return Step(Reason.RECOMMENDATION, current, after, inputs), remembered
