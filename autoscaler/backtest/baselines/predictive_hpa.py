"""The predictive horizontal pod autoscaler: the other one, on forecasts of its own counts.

Source: jthomperoo/predictive-horizontal-pod-autoscaler. As what it forecasts is numbers that were
wanted, and not what callers asked for, it does not see a demand that could not be met.
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
    """What it remembers of a deployment."""

    model: Any
    course: ScalingHistory = ScalingHistory()


class PredictiveHpa(Value, frozen=True, kw_only=True):
    """The larger of what the metric wants and what the model expects, then the usual behaviour."""

    poll_interval_s: ClassVar[float] = SYNC_S
    sampling_s: ClassVar[float] = SYNC_S
    load_window_s: ClassVar[float] = SYNC_S

    metric: AverageUtilisation
    model: ForecastModel
    behaviour: ScalingBehaviour = ScalingBehaviour()

    @property
    def name(self) -> str:
        """One for each model."""
        return f"predictive-hpa-{self.model.name}"

    def begin(self) -> PredictiveHpaMemory:
        """Nothing was wanted yet."""
        return PredictiveHpaMemory(model=self.model.begin())

    def from_history(
        self, history: LoadHistoryView, minimum: int, maximum: int
    ) -> PredictiveHpaMemory:
        """As if it had wanted, minute by minute, what brings utilisation to its target."""
        recommended = np.ceil(offered_loads(history, POINT_S) / self.metric.target - 1e-9)
        counts = np.clip(recommended, minimum, maximum).astype(np.int64)
        return PredictiveHpaMemory(model=self.model.from_history(counts.tolist()))

    def recommend(
        self, situation: Situation, memory: PredictiveHpaMemory
    ) -> tuple[Step, PredictiveHpaMemory]:
        """As fast as the behaviour allows; nothing without a metric."""
        recommended = self.metric.recommended(situation)
        if recommended is None:
            return hold(situation), memory
        expected, model = self.model.forecast(situation.at, recommended, memory.model)
        number, course = self.behaviour.shape(max(recommended, expected), situation, memory.course)
        inputs = {"wanted": recommended, "expected": expected}
        step = Step(Reason.RECOMMENDATION, situation.current, number, inputs)
        return step, PredictiveHpaMemory(model=model, course=course)
