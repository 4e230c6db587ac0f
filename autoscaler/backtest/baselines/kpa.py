"""Knative's pod autoscaler: concurrency over a stable window of 60 s and a panic window of 6 s.

Source: knative/serving, `pkg/autoscaler/scaling` and the defaults of `config-autoscaler`.
"""

from typing import ClassVar

from autoscaler.backtest.baselines.sizing import round_up
from autoscaler.backtest.baselines.window import Window
from autoscaler.core.policies import Situation
from autoscaler.core.values import Reason, Step, Value

STABLE_S, PANIC_S = 60, 6
"""Lengths of the stable and the panic window, in seconds and in samples: one sample a second."""

PANIC_FROM = 2.0
"""Panic begins when the panic window recommends this multiple of the ready allocations."""

MAX_UP, MAX_DOWN = 1000, 2
"""Largest factors by which one evaluation multiplies or divides the allocations."""

GRACE_S = 30.0
"""Seconds from the first recommendation of 0 until the last allocation is removed."""


class KpaMemory(Value, frozen=True, kw_only=True):
    """The last minute of samples, and the state of the panic."""

    window: Window = Window()
    panic_at: float | None = None  # last instant at which panic applied; None: no panic
    highest: int = 0  # recommendation since the panic began
    idle_at: float | None = None  # since when 0 has been recommended


class Kpa(Value, frozen=True, kw_only=True):
    """Keeps in-flight requests per allocation at a target."""

    name: ClassVar[str] = "kpa"
    poll_interval_s: ClassVar[float] = 2.0
    sampling_s: ClassVar[float] = 1.0
    load_window_s: ClassVar[float] = 2.0

    target: float  # container concurrency times the target percentage

    def begin(self) -> KpaMemory:
        """No sample yet."""
        return KpaMemory()

    def recommend(self, situation: Situation, memory: KpaMemory) -> tuple[Step, KpaMemory]:
        """From the stable window; in a panic, the highest recommendation since it began."""
        at, ready = situation.at, max(1, situation.running)
        window = memory.window.after(_seconds(situation), STABLE_S)
        recent = window.samples[-PANIC_S:]
        stable = round_up(window.mean / self.target)
        panic = round_up(sum(recent) / len(recent) / self.target)
        panic_at, highest = memory.panic_at, memory.highest
        if not memory.window.samples and situation.running > 1:
            # After a start the load is unknown: the allocations are kept until it is measured.
            panic_at, highest = at, situation.running
        if panic / ready >= PANIC_FROM:
            panic_at = at
        elif panic_at is not None and at - panic_at > STABLE_S:
            panic_at, highest = None, 0
        lowest, limit = ready // MAX_DOWN, MAX_UP * ready
        allocations = min(max(stable, lowest), limit)
        if panic_at is not None:
            panicked = min(max(panic, lowest), limit)
            allocations = highest = max(highest, allocations, panicked)
        allocations, idle_at = _without_last(allocations, situation, memory)
        remembered = KpaMemory(window=window, panic_at=panic_at, highest=highest, idle_at=idle_at)
        inputs = {"stable": stable, "panic": panic}
        return Step(Reason.RECOMMENDATION, situation.current, allocations, inputs), remembered


def _seconds(situation: Situation) -> tuple[int, ...]:
    """One sample a second; a sample counts for all seconds since the one before it."""
    in_flight = situation.in_flight
    seconds = round(situation.sample.interval_s / len(in_flight))
    if seconds <= 1:
        return in_flight
    return tuple([sample for sample in in_flight for _ in range(min(seconds, STABLE_S))])


def _without_last(
    allocations: int, situation: Situation, memory: KpaMemory
) -> tuple[int, float | None]:
    """The allocations, 1 during the grace period, and since when 0 has been recommended."""
    if allocations > 0:
        return allocations, None
    at = situation.at
    idle_at = at if memory.idle_at is None else memory.idle_at
    full = len(memory.window.samples) == STABLE_S
    return 0 if full and at - idle_at >= GRACE_S else min(1, situation.current), idle_at
