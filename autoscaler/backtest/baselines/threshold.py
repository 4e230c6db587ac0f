"""One allocation more while utilisation stays high, one fewer while it stays low.

Modelled on zalando-incubator/es-operator, with a threshold, a number of samples and a cool-down for
each direction. Its times are meant for data nodes; here they are shortened to suit allocations.
"""

from typing import ClassVar

from autoscaler.backtest.baselines.sizing import hold, utilisation
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

POLL_INTERVAL_S = 10.0


class Direction(Value, frozen=True, kw_only=True):
    """The conditions of a step in one direction."""

    samples: int  # in a row beyond the threshold
    cool_down_s: float  # from one step to the next in this direction


class ThresholdMemory(Value, frozen=True, kw_only=True):
    """Consecutive samples beyond the thresholds, and the last steps."""

    above: int = 0  # samples in a row
    below: int = 0
    up_at: float | None = None  # of the last step up
    down_at: float | None = None


class ThresholdStep(Value, frozen=True, kw_only=True):
    """Steps of one allocation, each after enough consecutive samples beyond its threshold."""

    name: ClassVar[str] = "threshold-step"
    poll_interval_s: ClassVar[float] = POLL_INTERVAL_S
    sampling_s: ClassVar[float] = POLL_INTERVAL_S
    load_window_s: ClassVar[float] = POLL_INTERVAL_S

    high: float = 0.8
    low: float = 0.3
    up: Direction = Direction(samples=3, cool_down_s=30.0)
    down: Direction = Direction(samples=30, cool_down_s=300.0)

    def begin(self) -> ThresholdMemory:
        """No sample yet."""
        return ThresholdMemory()

    def recommend(
        self, situation: Situation, memory: ThresholdMemory
    ) -> tuple[Step, ThresholdMemory]:
        """One allocation more, one fewer or the same; at least 1."""
        measured = utilisation(situation)
        if measured is None:
            return hold(situation), memory
        at, current = situation.at, situation.current
        up_at, down_at = memory.up_at, memory.down_at
        above = min(memory.above + 1, self.up.samples) if measured > self.high else 0
        below = min(memory.below + 1, self.down.samples) if measured < self.low else 0
        after = current
        if _due(self.up, above, up_at, at):
            after, up_at = current + 1, at
        elif current > 1 and _due(self.down, below, down_at, at):
            after, down_at = current - 1, at
        remembered = ThresholdMemory(above=above, below=below, up_at=up_at, down_at=down_at)
        inputs = {"utilisation": measured, "high": self.high, "low": self.low}
        return Step(Reason.RECOMMENDATION, current, after, inputs), remembered


def _due(direction: Direction, samples: int, last_at: float | None, at: float) -> bool:
    cooled = last_at is None or at - last_at >= direction.cool_down_s
    return cooled and samples >= direction.samples
