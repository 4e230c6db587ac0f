"""What a policy is: it recommends allocations, before constraints. And the policy `utilisation`."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from msgspec.structs import replace

from autoscaler.core.capacity import STARTING
from autoscaler.core.next_poll import PollRequest
from autoscaler.core.slo_status import SloStatus
from autoscaler.core.state import PolicyMemory
from autoscaler.core.values import (
    Callers,
    LoadEstimate,
    NodeStats,
    Reason,
    Sample,
    Step,
    Value,
)

Memory = TypeVar("Memory")

MAX_ALLOCATIONS = 2**31 - 1
"""The largest allocation count that the API accepts: a signed integer of 32 bits."""


class Situation(Value, frozen=True, kw_only=True):
    """The inputs of a policy, from samples without a data-quality issue."""

    at: float
    current: int  # current allocations
    running: int  # running allocations
    requested: int | None = None  # allocations that should run; None: as many as the current ones
    missing_s: float = 0.0  # time for which fewer have run than were requested
    max_allocations: int = MAX_ALLOCATIONS  # the most that can be requested
    # Whether recommendations are carried out: not in a dry run, and not while the cluster would
    # refuse every change, or the allocations of another writer are kept.
    carried_out: bool = True
    # The late requests since the previous poll, where the queue is that of a shadow, and does not
    # show them; None: they follow from the queue.
    late_requests: float | None = None
    sample: Sample  # since the previous poll
    load: LoadEstimate  # over the policy's `load_window_s`
    # In-flight requests at equally spaced instants since the previous poll; the last is now. A
    # poll provides one value, a faster sampler more.
    in_flight: tuple[int, ...]
    nodes: tuple[NodeStats, ...] = ()  # to which the deployment has routes
    threads: int = 1  # of each allocation
    free_threads: Mapping[str, int] = {}  # by the id of the ML node; empty: not reported
    new_node_s: float | None = None  # lead time of an update that needs a new node; None: unknown
    callers: Callers = Callers.UNKNOWN
    poll_interval_s: float = 10.0  # the longest time to the next poll, ...
    min_poll_interval_s: float = 10.0  # ... and the shortest that can be requested

    @property
    def missing(self) -> int:
        """Requested allocations that do not run."""
        requested = self.current if self.requested is None else self.requested
        return max(0, requested - self.running)


class ScalingPolicy(Protocol[Memory]):
    """Recommends allocations. Pure: its memory of a deployment is passed in and returned.

    A policy whose memory can be stored has an attribute `memory_format` as well; see
    `memory_format_of`.
    """

    @property
    def name(self) -> str:
        """The name in the configuration."""

    @property
    def load_window_s(self) -> float:
        """The time over which `Situation.load` is measured. Seconds."""

    def begin(self) -> Memory:
        """The memory of a deployment that has not been observed yet: an immutable value."""

    def recommend(self, situation: Situation, memory: Memory) -> tuple[Step, Memory]:
        """The step from the current to the recommended allocations, before constraints, and the
        new memory."""


AnyPolicy = ScalingPolicy[Any]


class MemoryFormat(Value, frozen=True, eq=False):
    """The stored form of a policy's memory."""

    type: Any  # of the memory: any type that msgspec can encode and decode
    version: int  # at least 1; changes whenever the type or the meaning of a field changes


def memory_format_of(policy: AnyPolicy) -> MemoryFormat | None:
    """The stored form of the policy's memory; None if the memory is not stored."""
    memory_format: MemoryFormat | None = getattr(policy, "memory_format", None)
    return memory_format


CostCurve = Callable[[int], float]
"""The cost of an allocation count, which is at least 1, in allocations: the allocations themselves,
and what the requests that are late with them cost."""


def cost_curve_of(
    policy: AnyPolicy, situation: Situation, memory: PolicyMemory | None
) -> CostCurve | None:
    """The cost curve behind a recommendation; None if the policy has none.

    A policy that has one has a method `cost_curve` as well, with the arguments of `recommend`. It
    is called only when the recommendations of several deployments do not fit together.

    Args:
        memory: that `recommend` returned.
    """
    curve = getattr(policy, "cost_curve", None)
    if curve is None or memory is None:
        return None
    costs: CostCurve | None = curve(situation, memory.value)
    return costs


Costs = tuple[tuple[int, float], ...]
"""Allocation counts, rising, and the cost of each, which is finite."""


def evaluate_safely(
    curve_of: Callable[[], CostCurve | None], counts: Iterable[int]
) -> tuple[Costs, str]:
    """The costs of allocation counts, and an error. Without a cost curve there are no costs.

    A cost curve that raises, or has a cost that is not a finite number, counts as none; the error
    is its text then, and empty otherwise.

    Args:
        curve_of: as `cost_curve_of`, with its arguments bound.
    """
    try:
        curve = curve_of()
        if curve is None:
            return (), ""
        return tuple([(count, _finite(curve(count), count)) for count in counts]), ""
    except Exception as defect:
        return (), _error_text(defect)


def _finite(cost: float, count: int) -> float:
    if not math.isfinite(cost):
        raise ValueError(f"the cost curve returned {cost} for {count}")
    return float(cost)


MAX_ERROR_CHARACTERS = 200
"""Characters of an error's text that are kept: enough for a sentence in a log line."""


def recommend_safely(
    policy: AnyPolicy, situation: Situation, memory: PolicyMemory | None
) -> tuple[Step, PolicyMemory | None]:
    """The policy's recommendation and its new memory.

    If the policy raises, the current allocations are held, with the error as the reason. The
    memory is discarded, since it may be the cause.

    Args:
        memory: from the previous call for this deployment; None: the policy begins.
    """
    try:
        before = policy.begin() if memory is None else memory.value
        step, after = policy.recommend(situation, before)
    except Exception as defect:
        inputs = {"error": _error_text(defect)}
        return Step(Reason.POLICY_FAILED, situation.current, situation.current, inputs), None
    if memory is None or after is not before:
        memory_format = memory_format_of(policy)
        version = None if memory_format is None else memory_format.version
        memory = PolicyMemory(policy.name, version, after)
    return step, memory


def without_requests(
    policy: AnyPolicy, before: PolicyMemory | None, learnt: PolicyMemory | None
) -> PolicyMemory | None:
    """The memory after a poll whose requests are too uncertain to learn from: a later one counts
    them again, compared with the same statistics as this one.

    A policy whose memory has more than requests has a method `without_requests` as well, with the
    value before the poll and the one that `recommend` returned, for what is certain nevertheless.

    Args:
        before: the memory before the poll.
        learnt: the one that the recommendation has returned.
    """
    method = getattr(policy, "without_requests", None)
    if method is None or before is None or learnt is None or learnt is before:
        return before
    value = method(before.value, learnt.value)
    return before if value is before.value else replace(before, value=value)


def next_poll_safely(
    policy: AnyPolicy, situation: Situation, memory: PolicyMemory | None
) -> tuple[PollRequest | None, str]:
    """The next poll that a policy needs, and an error. None: the routine one is early enough.

    A policy that needs some has a method `next_poll` as well, with the arguments of `recommend`. If
    it raises, the routine poll is the next one; the error is its text then, and empty otherwise.

    Args:
        memory: that `recommend` returned.
    """
    try:
        needed = getattr(policy, "next_poll", None)
        if needed is None or memory is None:
            return None, ""
        request: PollRequest | None = needed(situation, memory.value)
    except Exception as defect:
        return None, _error_text(defect)
    return request, ""


def slo_status_safely(
    policy: AnyPolicy,
    memory: PolicyMemory | None,
    desired: int,
    situation: Situation | None,
    before: PolicyMemory | None,
) -> tuple[SloStatus | None, str]:
    """What a policy knows of the SLO, and an error. None: it knows nothing of an SLO.

    A policy that knows it has a method `slo_status` as well. If it raises, nothing is known; the
    error is its text then, and empty otherwise.

    Args:
        memory: after the poll.
        desired: the allocations decided on.
        situation: that `recommend` received; None: its memory was not kept, or it was not called.
        before: the memory that `recommend` received.
    """
    try:
        known = getattr(policy, "slo_status", None)
        if known is None or memory is None:
            return None, ""
        begun = policy.begin() if before is None else before.value
        status: SloStatus = known(memory.value, desired, situation, begun)
    except Exception as defect:
        return None, _error_text(defect)
    return status, ""


def late_fraction_safely(
    policy: AnyPolicy, situation: Situation, memory: PolicyMemory | None, allocations: int
) -> float | None:
    """The fraction of late requests that a policy expects with an allocation count; None: it
    expects nothing, or fails. One that expects some has a method `late_fraction` as well."""
    try:
        expected = getattr(policy, "late_fraction", None)
        if expected is None or memory is None:
            return None
        return expected(situation, memory.value, allocations)  # type: ignore[no-any-return]
    except Exception:
        return None


def _error_text(defect: Exception) -> str:
    """The error in one line, with the file and the line that raised it."""
    trace = defect.__traceback__
    assert trace is not None, "it was raised"
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename.rpartition("/")[2]
    return f"{defect!r:.{MAX_ERROR_CHARACTERS}} ({file}:{trace.tb_lineno})"


def missing_inputs(situation: Situation) -> dict[str, float]:
    """The allocations that run, as inputs of a step, while fewer run than were requested."""
    return {
        "running": float(situation.running),
        "requested": float(situation.running + situation.missing),
        "missing_s": situation.missing_s,
        "loading_nodes": float(sum([node.routing_state == STARTING for node in situation.nodes])),
    }


SEARCH_FACTOR = 2.0
"""Multiple of the running allocations that is recommended while the load is only known to exceed
them. 2: a load of any size is reached in few steps, and exceeded by less than a factor of 2."""


def at_least_for(situation: Situation) -> tuple[int, dict[str, float]]:
    """The fewest allocations to recommend while an overload hides how high the load is, and the
    inputs that say so; 0 and none if the load is measured.

    Nothing is known but that the running allocations are too few, and the most that the load can
    be; unless the totals of the processes show about how high it is.
    """
    most = situation.load.load_at_most
    if most is None:
        return 0, {}
    if situation.load.from_totals:
        return 0, {"load_at_most": most, "load_of_totals": 1.0}
    allocations = min(SEARCH_FACTOR * situation.running, math.ceil(min(most, MAX_ALLOCATIONS)))
    return int(min(allocations, MAX_ALLOCATIONS)), {"load_at_most": most}


class UtilisationPolicy(Value, frozen=True, kw_only=True):
    """Target tracking: the allocations that bring utilisation to its target."""

    name: ClassVar[str] = "utilisation"
    memory_format: ClassVar[MemoryFormat] = MemoryFormat(type(None), 1)

    target: float  # utilisation, a fraction in (0, 1)
    load_window_s: float

    def begin(self) -> None:
        """The policy has no memory: `Situation.load` is all it needs."""

    def recommend(self, situation: Situation, memory: None) -> tuple[Step, None]:
        """The allocations that bring utilisation to its target. The current allocations, if the
        offered load is unknown because no request has been completed yet.

        >>> from autoscaler.core.values import LoadEstimate, Sample
        >>> load = LoadEstimate(
        ...     arrival_rate_per_s=49.0,
        ...     throughput_per_s=30.0,
        ...     service_time_s=0.1,
        ...     cache_hit_fraction=0.0,
        ...     in_flight=190,
        ...     window_s=60.0,
        ... )
        >>> sample = Sample(at=60.0, interval_s=10.0)
        >>> now = Situation(
        ...     at=60.0, current=3, running=3, sample=sample, load=load, in_flight=(190,)
        ... )
        >>> step, _ = UtilisationPolicy(target=0.7, load_window_s=60.0).recommend(now, None)
        >>> step.after
        7
        """
        current, offered_load = situation.current, situation.load.offered_load
        if offered_load is None:
            return Step(Reason.NOT_MEASURED, current, current), None
        # Without the tolerance, 4.9 / 0.7 = 7.000000000000001 would be rounded up to 8.
        after = math.ceil(offered_load / self.target - 1e-9)
        least, uncertain = at_least_for(situation)
        after = max(after, least)
        inputs = {"offered_load": offered_load, **uncertain, "target_utilisation": self.target}
        if situation.missing:
            inputs |= missing_inputs(situation)
            if situation.running > 0:
                inputs["utilisation_now"] = offered_load / situation.running
        return Step(Reason.TARGET_TRACKING, current, after, inputs), None
