"""The result of one run: a row of figures, and a timeline."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

FORMER_POLICY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "native-8.16": "adaptive-8.16",
        "native-9": "adaptive-9",
        "clairvoyant": "oracle",
    }
)
"""Policy names of result files of format 1, which `--policy` still accepts, and their names now."""


class ResultRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The score of one policy at one setting on one workload. A line of the JSON output.

    A request violates the SLO if its queue wait exceeded the maximum, or if it was rejected or
    timed out; a successful retry does not undo that. Requests are counted, not attempts. A
    percentile of the queue wait is None if it falls on requests that were never served.
    """

    trace: str
    scenario: str
    policy: str
    setting: str  # of the policy's parameter, such as `target=0.7`; "" without one
    default: bool  # whether this is the default setting
    seed: int
    requests: int
    violations: int
    violation_fraction: float
    rejected: int
    timed_out: int
    retries: int
    violation_minutes: int  # minutes in which the SLO was not met
    wait_p50_s: float | None
    wait_p95_s: float | None
    wait_p99_s: float | None
    allocation_hours: float  # requested, which is what the nodes reserve
    running_allocation_hours: float
    changes: int
    reversals: int  # changes of direction within five minutes
    refused_updates: int
    max_backlog_s: float  # longest time with more queued requests than allocations
    simulated_s: float  # virtual time
    elapsed_s: float = 0.0  # computing time; in a file, all are in the header
    slo_target: float | None = None  # of a rule that states an SLO; None: that of the scenario
    slo_wait_s: float | None = None  # likewise
    recording: str | None = None  # the trace of which `trace` is one day; None: not divided
    day: int | None = None  # which, from 1

    @property
    def load(self) -> str:
        """The trace, of one or several days."""
        return self.trace if self.recording is None else self.recording


class Timeline(Struct, frozen=True, kw_only=True):
    """One run over time, in equal steps. Each list has one value per step."""

    step_s: float
    offered_load: list[float]  # erlangs: arrivals x mean service time
    requested: list[float]  # allocations, mean over the step
    running: list[float]
    wait_p99_s: list[
        float | None
    ]  # of the arrivals of the step; None: no arrivals, or never served
    violations: list[int]


class Trial(Struct, frozen=True, kw_only=True):
    """One run."""

    row: ResultRow
    timeline: Timeline | None = None
