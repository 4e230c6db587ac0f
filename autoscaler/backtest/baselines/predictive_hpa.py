"""The predictive horizontal pod autoscaler: `hpa` on forecasts of its recommendations.

Source: jthomperoo/predictive-horizontal-pod-autoscaler. It forecasts recommended allocations, not
arrivals, so load that the allocations could not serve is missing from its history.
"""

from typing import Any, ClassVar

import numpy as np

from autoscaler.backtest.baselines.baseline import LoadHistoryView, offered_loads
from autoscaler.backtest.baselines.forecasts import POINT_S, ForecastModel
from autoscaler.backtest.baselines.hpa import (
    SYNC_S,
    AverageUtilisation,
    ScalingBehaviour,
    ScalingHistory,
)
from autoscaler.backtest.baselines.sizing import hold
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value


class PredictiveHpaMemory(Value, frozen=True, kw_only=True):
    """The state of the model and of the behaviour."""

    model: Any
    history: ScalingHistory = ScalingHistory()


class PredictiveHpa(Value, frozen=True, kw_only=True):
    """The larger of the metric's recommendation and the forecast, within the behaviour's limits."""

    poll_interval_s: ClassVar[float] = SYNC_S
    sampling_s: ClassVar[float] = SYNC_S
    load_window_s: ClassVar[float] = SYNC_S

    metric: AverageUtilisation
    model: ForecastModel
    behaviour: ScalingBehaviour = ScalingBehaviour()

    @property
    def name(self) -> str:
        """With the name of the model."""
        return f"predictive-hpa-{self.model.name}"

    def begin(self) -> PredictiveHpaMemory:
        """No recommendation yet."""
        return PredictiveHpaMemory(model=self.model.begin())

    def from_history(
        self, history: LoadHistoryView, min_allocations: int, max_allocations: int
    ) -> PredictiveHpaMemory:
        """As if it had recommended the target utilisation's allocations in each minute."""
        recommended = np.ceil(offered_loads(history, POINT_S) / self.metric.target - 1e-9)
        counts = np.clip(recommended, min_allocations, max_allocations).astype(np.int64)
        return PredictiveHpaMemory(model=self.model.from_history(counts.tolist()))

    def recommend(
        self, situation: Situation, memory: PredictiveHpaMemory
    ) -> tuple[Step, PredictiveHpaMemory]:
        """Within the behaviour's limits; held without a metric."""
        recommended = self.metric.recommended(situation)
        if recommended is None:
            return hold(situation), memory
        expected, model = self.model.forecast(situation.at, recommended, memory.model)
        allocations, history = self.behaviour.shape(
            max(recommended, expected), situation, memory.history
        )
        inputs = {"recommended": recommended, "expected": expected}
        step = Step(Reason.RECOMMENDATION, situation.current, allocations, inputs)
        return step, PredictiveHpaMemory(model=model, history=history)
