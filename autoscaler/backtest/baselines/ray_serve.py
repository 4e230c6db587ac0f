"""Ray Serve: ongoing requests over half a minute, followed when they have insisted long enough.

Source: ray-project/ray, `python/ray/serve/autoscaling_policy.py` and `config.py`.
"""

from typing import ClassVar

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.baselines.window import Window
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value


class RayMemory(Value, frozen=True, kw_only=True):
    """What it remembers of a deployment."""

    window: Window = Window()
    direction: int = 0  # of the change it considers: 1 up, -1 down
    since: float = 0.0  # when it began to consider it


class RayServe(Value, frozen=True, kw_only=True):
    """Requests in the system held at a target for each allocation, with delays.

    Its loop turns every 0.1 s, but sees something new only when metrics are pushed, every 10 s;
    counting loops is counting seconds.
    """

    name: ClassVar[str] = "ray-serve"
    poll_interval_s: ClassVar[float] = 10.0
    sampling_s: ClassVar[float] = 0.5
    load_window_s: ClassVar[float] = 10.0

    target: float  # ongoing and queued requests for each allocation
    factor: float = 1.0  # how much of the way it goes
    look_back_s: float = 30.0
    up_delay_s: float = 30.0
    down_delay_s: float = 600.0

    def begin(self) -> RayMemory:
        """No sample was taken yet."""
        return RayMemory()

    def recommend(self, situation: Situation, memory: RayMemory) -> tuple[Step, RayMemory]:
        """What it wants now, if it has wanted to go that way for as long as the delay."""
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
        inputs = {"in_flight": window.mean, "wanted": recommended}
        return Step(Reason.RECOMMENDATION, current, after, inputs), remembered

    def _recommended(self, in_flight: float, situation: Situation) -> int:
        current, running = situation.current, situation.running
        if running == 0:
            return max(round_up(self.factor), current) if in_flight > 0.0 else current
        desired = in_flight / self.target
        number = round_up(running + self.factor * (desired - running))
        if number == running > round_up(desired):
            number -= 1  # or a small factor would keep it for ever
        return max(number, 1 if current > 1 else 0)
