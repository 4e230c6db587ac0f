"""Knative's pod autoscaler: concurrency over a minute, and over six seconds when it panics.

Source: knative/serving, `pkg/autoscaler/scaling` and the defaults of `config-autoscaler`.
"""

from typing import ClassVar

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.baselines.window import Window
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

STABLE_S, PANIC_S = 60, 6
"""Windows, and as many samples, for there is one a second."""

PANIC_FROM = 2.0
"""Times the ready allocations that the panic window wants."""

MAX_UP, MAX_DOWN = 1000, 2
"""At one tick, times as many, or as few."""

GRACE_S = 30.0
"""From the wish for none until the last one goes."""


class KpaMemory(Value, frozen=True, kw_only=True):
    """What it remembers of a deployment."""

    window: Window = Window()
    panic_at: float | None = None  # when there was last a reason to panic; None: it does not
    highest: int = 0  # answer since the panic began
    idle_at: float | None = None  # since when it has wanted none


class Kpa(Value, frozen=True, kw_only=True):
    """Requests in flight held at a target for each allocation."""

    name: ClassVar[str] = "kpa"
    poll_interval_s: ClassVar[float] = 2.0
    sampling_s: ClassVar[float] = 1.0
    load_window_s: ClassVar[float] = 2.0

    target: float  # container concurrency times the target percentage

    def begin(self) -> KpaMemory:
        """No sample was taken yet."""
        return KpaMemory()

    def recommend(self, situation: Situation, memory: KpaMemory) -> tuple[Step, KpaMemory]:
        """What the stable window wants; in a panic the most that was wanted since it began."""
        at, ready = situation.at, max(1, situation.running)
        window = memory.window.after(_seconds(situation), STABLE_S)
        recent = window.samples[-PANIC_S:]
        stable = round_up(window.mean / self.target)
        panic = round_up(sum(recent) / len(recent) / self.target)
        panic_at, highest = memory.panic_at, memory.highest
        if not memory.window.samples and situation.running > 1:
            # It cannot know why there are several, so it keeps them until it does.
            panic_at, highest = at, situation.running
        if panic / ready >= PANIC_FROM:
            panic_at = at
        elif panic_at is not None and at - panic_at > STABLE_S:
            panic_at, highest = None, 0
        fewest, most = ready // MAX_DOWN, MAX_UP * ready
        number = min(max(stable, fewest), most)
        if panic_at is not None:
            number = highest = max(highest, number, min(max(panic, fewest), most))
        number, idle_at = _last_one(number, situation, memory)
        remembered = KpaMemory(window=window, panic_at=panic_at, highest=highest, idle_at=idle_at)
        inputs = {"stable": stable, "panic": panic}
        return Step(Reason.RECOMMENDATION, situation.current, number, inputs), remembered


def _seconds(situation: Situation) -> tuple[int, ...]:
    """One sample for each second; samples further apart stand for all seconds up to theirs."""
    in_flight = situation.in_flight
    seconds = round(situation.sample.interval_s / len(in_flight))
    if seconds <= 1:
        return in_flight
    return tuple([sample for sample in in_flight for _ in range(min(seconds, STABLE_S))])


def _last_one(number: int, situation: Situation, memory: KpaMemory) -> tuple[int, float | None]:
    """The number, one as long as none is not certain, and since when none is wanted."""
    if number > 0:
        return number, None
    at = situation.at
    idle_at = at if memory.idle_at is None else memory.idle_at
    seen = len(memory.window.samples) == STABLE_S
    return 0 if seen and at - idle_at >= GRACE_S else min(1, situation.current), idle_at
