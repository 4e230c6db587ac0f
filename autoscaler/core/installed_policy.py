"""A policy of another distribution, whose return values are checked."""

import math
from collections.abc import Mapping
from operator import index
from typing import Any

from autoscaler.core.next_poll import CAUSES_OF_POLICIES, PollCause, PollRequest
from autoscaler.core.policies import (
    MAX_ALLOCATIONS,
    AnyPolicy,
    CostCurve,
    MemoryFormat,
    Situation,
)
from autoscaler.core.values import Reason, Step, Value


class InstalledPolicy(Value, frozen=True, kw_only=True, eq=False):
    """A policy of another distribution. It is equal only to itself.

    Its return values are converted to a plain step here, so that an invalid one is reported as a
    failure of the policy and does not break the cycle later on.
    """

    name: str  # of the entry point; `policy.name` may differ
    source: str  # object and distribution, for messages
    options: Mapping[str, object]
    load_window_s: float
    memory_format: MemoryFormat | None = None
    policy: AnyPolicy

    def begin(self) -> Any:
        """The result of the policy's own `begin`."""
        return self.policy.begin()

    def recommend(self, situation: Situation, memory: Any) -> tuple[Step, Any]:
        """The policy's own recommendation, with its allocations and its inputs. Its reason is
        `RECOMMENDATION`, unless it is `NOT_MEASURED`.

        Raises:
            TypeError: the policy did not return a step with whole allocations, and a memory.
            ValueError: the allocations are out of range.
        """
        step, memory = self.policy.recommend(situation, memory)
        if not isinstance(step, Step):
            raise TypeError(f"recommend() must return a Step and a memory, not {step!r:.40}")
        after = index(step.after)
        if not 0 <= after <= MAX_ALLOCATIONS:
            raise ValueError(f"{after:.6g} allocations are not between 0 and {MAX_ALLOCATIONS}")
        inputs = {
            str(name): str(value) if isinstance(value, str) else float(value)
            for name, value in step.inputs.items()
        }
        unknown = step.reason is Reason.NOT_MEASURED
        reason = Reason.NOT_MEASURED if unknown else Reason.RECOMMENDATION
        return Step(reason, situation.current, after, inputs), memory

    def cost_curve(self, situation: Situation, memory: Any) -> CostCurve | None:
        """The policy's own cost curve; None if it has none."""
        curve = getattr(self.policy, "cost_curve", None)
        costs: CostCurve | None = None if curve is None else curve(situation, memory)
        return costs

    def next_poll(self, situation: Situation, memory: Any) -> PollRequest | None:
        """The next poll that the policy itself needs; None if it needs none.

        Raises:
            TypeError: the policy did not return a request.
            ValueError: the time is no number, or the cause is none of a policy.
        """
        needed = getattr(self.policy, "next_poll", None)
        request: object = None if needed is None else needed(situation, memory)
        if request is None:
            return None
        if not isinstance(request, PollRequest):
            raise TypeError(f"next_poll() must return a PollRequest or None, not {request!r:.40}")
        within_s, cause = float(request.within_s), PollCause(request.cause)
        if math.isnan(within_s):
            raise ValueError(f"{within_s} is not a time to the next poll")
        if cause not in CAUSES_OF_POLICIES:
            raise ValueError(f"{cause} is not the cause of a policy")
        return PollRequest(within_s, cause)
