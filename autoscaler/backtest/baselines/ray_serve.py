"""Ray Serve: ongoing requests over 30 s, and a delay before each change.

Source: ray-project/ray, `python/ray/serve/autoscaling_policy.py` and `config.py`.
"""

from typing import ClassVar

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.baselines.window import Window
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value


class RayMemory(Value, frozen=True, kw_only=True):
    """The last samples, and the change that waits for its delay."""

    window: Window = Window()
    direction: int = 0  # of the change that waits: 1 up, -1 down
    since: float = 0.0  # since when it waits


class RayServe(Value, frozen=True, kw_only=True):
    """Keeps in-flight requests per allocation at a target, with delays.

    Its control loop runs every 0.1 s, but metrics arrive only every 10 s; so a count of loops is a
    time.
    """

    name: ClassVar[str] = "ray-serve"
    poll_interval_s: ClassVar[float] = 10.0
    sampling_s: ClassVar[float] = 0.5
    load_window_s: ClassVar[float] = 10.0

    target: float  # ongoing and queued requests for each allocation
    factor: float = 1.0  # fraction of the difference that one change covers
    look_back_s: float = 30.0
    up_delay_s: float = 30.0
    down_delay_s: float = 600.0

    def begin(self) -> RayMemory:
        """No sample yet."""
        return RayMemory()

    def recommend(self, situation: Situation, memory: RayMemory) -> tuple[Step, RayMemory]:
        """The recommendation, once its direction has been the same for the delay."""
        at, current, in_flight = situation.at, situation.current, situation.in_flight
        spacing_s = situation.sample.interval_s / len(in_flight)
        window = memory.window.after(in_flight, max(1, round(self.look_back_s / spacing_s)))
        recommended = self._recommended(window.mean, situation)
        direction = (recommended > current) - (recommended < current)
        since = memory.since if direction == memory.direction else at
        delay_s = self.up_delay_s if direction > 0 else self.down_delay_s
        after = current
        if direction and (situation.running == 0 or at - since >= delay_s):
            after, direction = recommended, 0
        remembered = RayMemory(window=window, direction=direction, since=since)
        inputs = {"in_flight": window.mean, "recommended": recommended}
        return Step(Reason.RECOMMENDATION, current, after, inputs), remembered

    def _recommended(self, in_flight: float, situation: Situation) -> int:
        current, running = situation.current, situation.running
        if running == 0:
            return max(round_up(self.factor), current) if in_flight > 0.0 else current
        desired = in_flight / self.target
        allocations = round_up(running + self.factor * (desired - running))
        if allocations == running > round_up(desired):
            allocations -= 1  # otherwise a small factor would never remove the last ones
        return max(allocations, 1 if current > 1 else 0)
