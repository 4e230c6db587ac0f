"""The allocations that would be right, limits aside. A policy is one object behind one method."""

import math
from collections.abc import Mapping
from operator import index
from typing import Any, ClassVar, Protocol, TypeVar

from msgspec import UNSET

from autoscaler.core.values import LoadEstimate, NodeStats, Reason, Sample, Step, Value

Memory = TypeVar("Memory")


class Situation(Value, frozen=True, kw_only=True):
    """All that a policy may look at, measured without flaw."""

    at: float
    current: int  # allocations requested
    running: int  # of those, serving now
    sample: Sample  # what happened since the last look
    load: LoadEstimate  # over the policy's own window
    # Requests queued or in service at equally spaced instants since the last look, the last of
    # them now. A poll knows one; a faster sampler, more.
    in_flight: tuple[int, ...]
    nodes: tuple[NodeStats, ...] = ()  # that the deployment has routes to
    threads: int = 1  # of each allocation
    free_threads: Mapping[str, int] = {}  # of each ML node by its id, if the cluster has told
    new_node_s: float | None = None  # an update took that needed a further node; None: not yet seen


class ScalingPolicy(Protocol[Memory]):
    """Chooses a number of allocations. Pure: what it remembers is handed to it and returned."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def load_window_s(self) -> float:
        """How long a stretch the load it is given should be measured over, in seconds."""

    def begin(self) -> Memory:
        """What it knows of a deployment that it has never seen. An immutable value."""

    def recommend(self, situation: Situation, memory: Memory) -> tuple[Step, Memory]:
        """The step from the current allocations to those that would suit, and what it then
        remembers. Bounds and other limits are not its business."""


AnyPolicy = ScalingPolicy[Any]

MAX_ERROR_CHARACTERS = 200
"""Characters that are kept of what an error says."""

MAX_ALLOCATIONS = 2**31 - 1
"""More than the API can be asked for."""


def recommend_safely(policy: AnyPolicy, situation: Situation, memory: Any) -> tuple[Step, Any]:
    """What the policy recommends, and what it then remembers; UNSET: it was never asked before.

    A policy that fails holds the number and says why. It is asked again as if it had never been,
    since what it remembers may be the cause.
    """
    try:
        return policy.recommend(situation, policy.begin() if memory is UNSET else memory)
    except Exception as defect:
        inputs = {"error": _words_of(defect)}
        return Step(Reason.POLICY_FAILED, situation.current, situation.current, inputs), UNSET


def _words_of(defect: Exception) -> str:
    """In one line: what is wrong, and in which file and line it became so."""
    trace = defect.__traceback__
    assert trace is not None, "it was raised"
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename.rpartition("/")[2]
    return f"{defect!r:.{MAX_ERROR_CHARACTERS}} ({file}:{trace.tb_lineno})"


class InstalledPolicy(Value, frozen=True, kw_only=True, eq=False):
    """A policy of another distribution. It equals itself alone, whatever it is made of.

    What it answers becomes a plain step here, since what is none would show only further on, in
    the middle of a cycle that is not its own.
    """

    name: str  # of its entry point, whatever it calls itself
    source: str  # object and distribution, for people
    options: Mapping[str, object]
    load_window_s: float
    policy: AnyPolicy

    def begin(self) -> Any:
        """As the policy begins."""
        return self.policy.begin()

    def recommend(self, situation: Situation, memory: Any) -> tuple[Step, Any]:
        """As the policy recommends: its number, its figures, and no other reason than that.

        Raises:
            TypeError: it answers something else than a step, in whole allocations, and a memory.
            ValueError: nobody can have so many allocations.
        """
        step, memory = self.policy.recommend(situation, memory)
        if not isinstance(step, Step):
            raise TypeError(f"recommend() must return a Step and a memory, not {step!r:.40}")
        after = index(step.after)
        if not 0 <= after <= MAX_ALLOCATIONS:
            raise ValueError(f"{after:.6g} allocations are not between 0 and {MAX_ALLOCATIONS}")
        figures = {
            str(name): str(figure) if isinstance(figure, str) else float(figure)
            for name, figure in step.inputs.items()
        }
        unknown = step.reason is Reason.NOT_MEASURED
        reason = Reason.NOT_MEASURED if unknown else Reason.RECOMMENDATION
        return Step(reason, situation.current, after, figures), memory


class UtilisationPolicy(Value, frozen=True, kw_only=True):
    """Target tracking: as many allocations as keep utilisation at its target."""

    name: ClassVar[str] = "utilisation"

    target: float  # fraction of its allocations a deployment should keep busy, in (0, 1)
    load_window_s: float

    def begin(self) -> None:
        """Nothing: the load says it all."""

    def recommend(self, situation: Situation, memory: None) -> tuple[Step, None]:
        """Allocations that bring utilisation to its target; the present number if the load is
        unknown because nothing was ever completed.

        >>> from autoscaler.core.values import LoadEstimate, Sample
        >>> load = LoadEstimate(
        ...     arrival_rate_per_s=49.0,
        ...     throughput_per_s=30.0,
        ...     service_time_s=0.1,
        ...     cache_hit_fraction=0.0,
        ...     pending=190,
        ...     window_s=60.0,
        ... )
        >>> sample = Sample(at=60.0, interval_s=10.0)
        >>> now = Situation(
        ...     at=60.0, current=3, live=3, sample=sample, load=load, in_flight=(190,)
        ... )
        >>> step, _ = Utilisation(target=0.7, load_window_s=60.0).recommend(now, None)
        >>> step.after
        7
        """
        current, offered_load = situation.current, situation.load.offered_load
        if offered_load is None:
            return Step(Reason.NOT_MEASURED, current, current), None
        # Without the tolerance, 4.9 / 0.7 = 7.000000000000001 would ask for an eighth.
        after = math.ceil(offered_load / self.target - 1e-9)
        inputs = {"offered_load": offered_load, "target_utilisation": self.target}
        return Step(Reason.TARGET_TRACKING, current, after, inputs), None
