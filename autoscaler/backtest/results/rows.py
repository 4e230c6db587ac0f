"""What a run leaves behind: one row of figures, and its course over time."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

FORMER_POLICY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "native-8.16": "adaptive-8.16",
        "native-9": "adaptive-9",
        "perfect-now": "zero-lag-oracle",
        "clairvoyant": "oracle",
    }
)
"""Policy names of result files of format 1, which `--policy` still accepts, and their names now."""


class ResultRow(Struct, frozen=True, kw_only=True):
    """The score of one policy, at one setting, on one load. A line of the JSON output.

    A request misses when it waited longer than the limit for an allocation, was refused, or timed
    out; that a caller's second try went well does not undo it. The counts are of callers, not of
    tries. Percentiles are None where requests that were never served reach down to them.
    """

    trace: str
    scenario: str
    policy: str
    setting: str  # the value of the policy's knob, such as `target=0.7`; "" if it has none
    default: bool  # whether that is the setting it is shipped with
    seed: int
    requests: int
    violations: int
    violation_fraction: float
    rejected: int
    timed_out: int
    retries: int
    violation_minutes: int  # minutes in which more of the requests missed than the SLO allows
    wait_p50_s: float | None
    wait_p95_s: float | None
    wait_p99_s: float | None
    allocation_hours: float  # requested, which is what the nodes set aside
    running_allocation_hours: float
    changes: int
    reversals: int  # changes of direction within five minutes
    refused_updates: int
    max_backlog_s: float  # the longest time that more waited than there were allocations
    simulated_s: float  # simulated
    elapsed_s: float  # to simulate it


class Timeline(Struct, frozen=True, kw_only=True):
    """The course of one run, in equal steps. Each list has one figure a step."""

    step_s: float
    offered_load: list[float]  # erlangs: arrivals x mean service time
    requested: list[float]  # allocations, mean over the step
    running: list[float]
    wait_p99_s: list[float | None]  # of the requests that came in the step; None: none, or lost
    violations: list[int]


class Trial(Struct, frozen=True, kw_only=True):
    """One run."""

    row: ResultRow
    timeline: Timeline | None = None
