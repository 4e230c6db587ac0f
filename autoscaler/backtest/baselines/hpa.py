"""Kubernetes' horizontal pod autoscaler, v2: a ratio, a tolerance, and how fast it may move.

Source: Kubernetes, `pkg/controller/podautoscaler` and the defaults of `autoscaling/v2`.
"""

from typing import ClassVar, Protocol

from autoscaler.backtest.baselines.sizing import hold, round_up, utilisation
from autoscaler.backtest.baselines.stabilisation import Recommendations, Stabilisation
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

TOLERANCE = 0.1
"""A ratio of metric to target so near to 1 changes nothing."""

SYNC_S = 15.0


class Metric(Protocol):
    """What is held at a target."""

    def recommended(self, situation: Situation) -> int | None:
        """Allocations that would bring it there; None where there is nothing to measure."""


class AverageUtilisation(Value, frozen=True, kw_only=True):
    """Resource utilisation: busy time over the time of the allocations that are ready."""

    target: float  # a fraction

    def recommended(self, situation: Situation) -> int | None:
        """The ready ones times the ratio of utilisation to its target.

        When there are too few, those that are not ready yet count as idle, for they will help.
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
        """The measured percentage is a whole number, rounded down."""
        return int(100.0 * measured + 1e-9) / (100.0 * self.target)


class AverageInFlight(Value, frozen=True, kw_only=True):
    """An external metric with an average target: requests in flight now, for each allocation."""

    target: float

    def recommended(self, situation: Situation) -> int | None:
        """As many as share what is in flight; from none, without tolerance."""
        total, current = situation.in_flight[-1], situation.current
        if current and abs(1.0 - total / (self.target * current)) <= TOLERANCE:
            return current
        return round_up(total / self.target)


class ScalingHistory(Value, frozen=True, kw_only=True):
    """What was recommended, and what became of it."""

    recommendations: Recommendations = ()
    changes: tuple[tuple[float, int], ...] = ()  # when, and by how many allocations
    at: float = 0.0  # of the last look
    current: int | None = None  # allocations then


class ScalingBehaviour(Value, frozen=True, kw_only=True):
    """How fast the number may move; of several limits, the one that allows most."""

    stabilisation: Stabilisation = Stabilisation(up_s=0.0, down_s=300.0)
    max_added: int = 4  # in a period, or ...
    max_added_percent: float = 100.0
    max_removed_percent: float = 100.0
    poll_interval_s: float = 15.0

    def shape(
        self, recommended: int, situation: Situation, course: ScalingHistory
    ) -> tuple[int, ScalingHistory]:
        """The number to go to now, and the course with this look added."""
        at, current = situation.at, situation.current
        changes = self._changes(situation, course)
        number, recommendations = self.stabilisation.apply(
            recommended, current, at, course.recommendations
        )
        base = current - sum([change for _, change in changes])
        most = max(
            current,
            base + self.max_added,
            round_up(base * (1.0 + self.max_added_percent / 100.0)),
        )
        fewest = min(current, int(base * (1.0 - self.max_removed_percent / 100.0)))
        return min(max(number, fewest), most), ScalingHistory(
            recommendations=recommendations, changes=changes, at=at, current=current
        )

    def _changes(
        self, situation: Situation, course: ScalingHistory
    ) -> tuple[tuple[float, int], ...]:
        """Those of the period: one exactly as old as the period no longer counts.

        What was changed since the last look was changed right after it.
        """
        changes = course.changes
        if course.current is not None and course.current != situation.current:
            changes = (*changes, (course.at, situation.current - course.current))
        return tuple([each for each in changes if situation.at - each[0] < self.poll_interval_s])


class Hpa(Value, frozen=True, kw_only=True):
    """One metric, and the default behaviour."""

    name: ClassVar[str] = "hpa"
    poll_interval_s: ClassVar[float] = SYNC_S
    sampling_s: ClassVar[float] = SYNC_S
    load_window_s: ClassVar[float] = SYNC_S

    metric: Metric
    behaviour: ScalingBehaviour = ScalingBehaviour()

    def begin(self) -> ScalingHistory:
        """Nothing was recommended yet."""
        return ScalingHistory()

    def recommend(
        self, situation: Situation, memory: ScalingHistory
    ) -> tuple[Step, ScalingHistory]:
        """What the metric wants, as fast as the behaviour allows; nothing without a metric.

        >>> from autoscaler.core.values import LoadEstimate, Sample
        >>> load = LoadEstimate(
        ...     arrival_rate_per_s=9.0,
        ...     throughput_per_s=9.0,
        ...     service_time_s=1.0,
        ...     cache_hit_fraction=0.0,
        ...     pending=9,
        ...     window_s=15.0,
        ... )
        >>> sample = Sample(at=15.0, interval_s=15.0, busy_s=135.0)
        >>> now = Situation(
        ...     at=15.0, current=10, live=10, sample=sample, load=load, in_flight=(9,)
        ... )
        >>> hpa = Hpa(metric=AverageUtilisation(target=0.7))
        >>> hpa.recommend(now, hpa.begin())[0].after
        13
        """
        recommended = self.metric.recommended(situation)
        if recommended is None:
            return hold(situation), memory
        number, memory = self.behaviour.shape(recommended, situation, memory)
        return Step(
            Reason.RECOMMENDATION, situation.current, number, {"wanted": recommended}
        ), memory
