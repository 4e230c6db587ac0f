"""The predictive horizontal pod autoscaler: the other one, on forecasts of its own counts.

Source: jthomperoo/predictive-horizontal-pod-autoscaler. As what it forecasts is numbers that were
wanted, and not what callers asked for, it does not see a demand that could not be met.
"""

from typing import Any, ClassVar

import numpy as np

from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value
from autoscaler.laboratory.peers.forecasts import POINT_S, Model
from autoscaler.laboratory.peers.hpa import SYNC_S, AverageUtilisation, Behaviour, Course
from autoscaler.laboratory.peers.peer import Past, offered_loads
from autoscaler.laboratory.peers.sizing import hold


class Expectation(Value, frozen=True, kw_only=True):
    """What it remembers of a deployment."""

    model: Any
    course: Course = Course()


class PredictiveHpa(Value, frozen=True, kw_only=True):
    """The larger of what the metric wants and what the model expects, then the usual behaviour."""

    period_s: ClassVar[float] = SYNC_S
    sampling_s: ClassVar[float] = SYNC_S
    load_window_s: ClassVar[float] = SYNC_S

    metric: AverageUtilisation
    model: Model
    behaviour: Behaviour = Behaviour()

    @property
    def name(self) -> str:
        """One for each model."""
        return f"predictive-hpa-{self.model.name}"

    def begin(self) -> Expectation:
        """Nothing was wanted yet."""
        return Expectation(model=self.model.begin())

    def recall(self, past: Past, minimum: int, maximum: int) -> Expectation:
        """As if it had wanted, minute by minute, what brings utilisation to its target."""
        wanted = np.ceil(offered_loads(past, POINT_S) / self.metric.target - 1e-9)
        counts = np.clip(wanted, minimum, maximum).astype(np.int64)
        return Expectation(model=self.model.recall(counts.tolist()))

    def recommend(self, situation: Situation, memory: Expectation) -> tuple[Step, Expectation]:
        """As fast as the behaviour allows; nothing without a metric."""
        wanted = self.metric.wanted(situation)
        if wanted is None:
            return hold(situation), memory
        expected, model = self.model.forecast(situation.at, wanted, memory.model)
        number, course = self.behaviour.shape(max(wanted, expected), situation, memory.course)
        because = {"wanted": wanted, "expected": expected}
        step = Step(Reason.RECOMMENDATION, situation.current, number, because)
        return step, Expectation(model=model, course=course)
