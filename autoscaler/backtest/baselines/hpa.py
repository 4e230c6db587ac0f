"""Kubernetes' horizontal pod autoscaler, v2: a ratio, a tolerance, and limits on the rate.

Source: Kubernetes, `pkg/controller/podautoscaler` and the defaults of `autoscaling/v2`.
"""

from typing import ClassVar, Protocol

from autoscaler.backtest.baselines.sizing import hold, round_up, utilisation
from autoscaler.backtest.baselines.stabilisation import Recommendations, Stabilisation
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

TOLERANCE = 0.1
"""Deviation of the ratio of metric to target from 1 within which nothing changes.

0.1 is the default of kube-controller-manager.
"""

SYNC_S = 15.0
"""Seconds from one evaluation to the next, the default of kube-controller-manager."""


class Metric(Protocol):
    """A metric that is kept at a target."""

    def recommended(self, situation: Situation) -> int | None:
        """Allocations that would bring it to the target; None if it cannot be measured."""


class AverageUtilisation(Value, frozen=True, kw_only=True):
    """Resource utilisation: busy time over the time of the ready allocations."""

    target: float  # a fraction

    def recommended(self, situation: Situation) -> int | None:
        """Ready allocations times the ratio of utilisation to its target.

        When scaling up, allocations that are not ready yet count as idle.
        """
        current, running = situation.current, situation.running
        measured = utilisation(situation)
        if measured is None:
            return None
        ratio = self._ratio(measured)
        if abs(1.0 - ratio) <= TOLERANCE:
            return current
        if ratio < 1.0 or current <= running:
            return round_up(ratio * running)
        ratio = self._ratio(measured * running / current)
        return current if ratio <= 1.0 + TOLERANCE else round_up(ratio * current)

    def _ratio(self, measured: float) -> float:
        """Percentages are integers, rounded down."""
        return int(100.0 * measured + 1e-9) / (100.0 * self.target)


class AverageInFlight(Value, frozen=True, kw_only=True):
    """An external metric with an average target: in-flight requests per allocation."""

    target: float

    def recommended(self, situation: Situation) -> int | None:
        """In-flight requests over the target; from 0 allocations, without tolerance."""
        total, current = situation.in_flight[-1], situation.current
        if current and abs(1.0 - total / (self.target * current)) <= TOLERANCE:
            return current
        return round_up(total / self.target)


class ScalingHistory(Value, frozen=True, kw_only=True):
    """Recent recommendations and changes."""

    recommendations: Recommendations = ()
    changes: tuple[tuple[float, int], ...] = ()  # when, and by how many allocations
    at: float = 0.0  # of the last poll
    current: int | None = None  # allocations then


class ScalingBehaviour(Value, frozen=True, kw_only=True):
    """Limits on the rate of change; of several limits, the widest counts."""

    stabilisation: Stabilisation = Stabilisation(up_s=0.0, down_s=300.0)
    max_added: int = 4  # in a period, or ...
    max_added_percent: float = 100.0
    max_removed_percent: float = 100.0
    poll_interval_s: float = 15.0

    def shape(
        self, recommended: int, situation: Situation, history: ScalingHistory
    ) -> tuple[int, ScalingHistory]:
        """The allocations to set now, and the history with this poll added."""
        at, current = situation.at, situation.current
        changes = self._changes(situation, history)
        allocations, recommendations = self.stabilisation.apply(
            recommended, current, at, history.recommendations
        )
        base = current - sum([change for _, change in changes])
        highest = max(
            current,
            base + self.max_added,
            round_up(base * (1.0 + self.max_added_percent / 100.0)),
        )
        lowest = min(current, int(base * (1.0 - self.max_removed_percent / 100.0)))
        return min(max(allocations, lowest), highest), ScalingHistory(
            recommendations=recommendations, changes=changes, at=at, current=current
        )

    def _changes(
        self, situation: Situation, history: ScalingHistory
    ) -> tuple[tuple[float, int], ...]:
        """The changes of the period, without changes that are exactly as old as the period.

        A change since the last poll is assumed to have happened right after that poll.
        """
        changes = history.changes
        if history.current is not None and history.current != situation.current:
            changes = (*changes, (history.at, situation.current - history.current))
        return tuple([each for each in changes if situation.at - each[0] < self.poll_interval_s])


class Hpa(Value, frozen=True, kw_only=True):
    """One metric, with the default behaviour."""

    name: ClassVar[str] = "hpa"
    poll_interval_s: ClassVar[float] = SYNC_S
    sampling_s: ClassVar[float] = SYNC_S
    load_window_s: ClassVar[float] = SYNC_S

    metric: Metric
    behaviour: ScalingBehaviour = ScalingBehaviour()

    def begin(self) -> ScalingHistory:
        """No recommendation yet."""
        return ScalingHistory()

    def recommend(
        self, situation: Situation, memory: ScalingHistory
    ) -> tuple[Step, ScalingHistory]:
        """The recommendation of the metric within the behaviour's limits; held without a metric.

        >>> from autoscaler.core.values import LoadEstimate, Sample
        >>> load = LoadEstimate(
        ...     arrival_rate_per_s=9.0,
        ...     throughput_per_s=9.0,
        ...     service_time_s=1.0,
        ...     cache_hit_fraction=0.0,
        ...     in_flight=9,
        ...     window_s=15.0,
        ... )
        >>> sample = Sample(at=15.0, interval_s=15.0, busy_s=135.0)
        >>> now = Situation(
        ...     at=15.0, current=10, running=10, sample=sample, load=load, in_flight=(9,)
        ... )
        >>> hpa = Hpa(metric=AverageUtilisation(target=0.7))
        >>> hpa.recommend(now, hpa.begin())[0].after
        13
        """
        recommended = self.metric.recommended(situation)
        if recommended is None:
            return hold(situation), memory
        allocations, memory = self.behaviour.shape(recommended, situation, memory)
        inputs = {"recommended": recommended}
        return Step(Reason.RECOMMENDATION, situation.current, allocations, inputs), memory
