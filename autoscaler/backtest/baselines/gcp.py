"""Google Cloud: a managed instance group that scales on utilisation, with predictive autoscaling.

Source: the guides to autoscaling groups of instances of Compute Engine.
"""

from typing import ClassVar

from autoscaler.backtest.baselines.baseline import LoadHistoryView
from autoscaler.backtest.baselines.seasonal_history import DAY, SeasonalHistory
from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.baselines.stabilisation import Recommendations, Stabilisation
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

POLL_INTERVAL_S = 60.0
HISTORY_DAYS = 3
STABILISATION = Stabilisation(up_s=0.0, down_s=600.0)


class GcpMemory(Value, frozen=True, kw_only=True):
    """Recent recommendations and the load history."""

    recommendations: Recommendations = ()
    season: SeasonalHistory = SeasonalHistory()


class GcpPredictive(Value, frozen=True, kw_only=True):
    """The larger of the needs of the present and the predicted load, stabilised over 10 minutes.

    Initialising allocations are ignored: they neither count as capacity nor lower the utilisation.
    Predictions need three days of history.
    """

    name: ClassVar[str] = "gcp-predictive"
    poll_interval_s: ClassVar[float] = POLL_INTERVAL_S
    sampling_s: ClassVar[float] = POLL_INTERVAL_S
    load_window_s: ClassVar[float] = POLL_INTERVAL_S

    target: float  # utilisation, a fraction
    initialisation_s: float  # time until a new allocation runs

    def begin(self) -> GcpMemory:
        """No history."""
        return GcpMemory()

    def from_history(
        self, history: LoadHistoryView, min_allocations: int, max_allocations: int
    ) -> GcpMemory:
        """Begin with the recorded load."""
        return GcpMemory(season=SeasonalHistory.of(history))

    def recommend(self, situation: Situation, memory: GcpMemory) -> tuple[Step, GcpMemory]:
        """The larger of the measured and the predicted need, stabilised."""
        at, sample = situation.at, situation.sample
        season = memory.season.after(situation)
        current, load, predicted = situation.current, sample.busy_s / sample.interval_s, 0.0
        if len(season.loads) >= HISTORY_DAYS * DAY:
            predicted = season.peak(at, at + self.poll_interval_s + self.initialisation_s)
        # Until an allocation has initialised, utilisation cannot be measured.
        needed = round_up(load / self.target) if situation.running else current
        recommended = max(needed, round_up(predicted / self.target))
        allocations, recommendations = STABILISATION.apply(
            recommended, current, at, memory.recommendations
        )
        inputs = {"load": load, "predicted": predicted, "target_utilisation": self.target}
        step = Step(Reason.RECOMMENDATION, current, allocations, inputs)
        return step, GcpMemory(recommendations=recommendations, season=season)
