"""What a replay found: for each deployment, the policies beside what really ran.

Fractions are of the requests, hours are allocation-hours. All of it is computed from counts: the
statistics of a cluster contain no queue waits.
"""

from msgspec import Struct


class Estimate(Struct, frozen=True):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class PolicyResult(Struct, frozen=True, kw_only=True):
    """One policy on the load of one deployment."""

    policy: str  # such as "slo", "adaptive-9", "hpa", "static-peak", "oracle", or "recorded"
    title: str  # in words
    hours: Estimate
    late_fraction: Estimate
    changes: int  # of the requested allocations
    max_allocations: int
    # The differences from what really ran, whose intervals are narrower than those of the values,
    # as both have the same load. None: what really ran, or no verdict.
    hours_difference: Estimate | None = None  # negative: fewer hours
    late_difference: Estimate | None = None  # of the fraction; negative: fewer late requests


class HourResult(Struct, frozen=True, kw_only=True):
    """One hour of one deployment, for charts and for the moments that mattered."""

    at: float  # its beginning, Unix seconds
    requests: int
    recorded_hours: float  # allocation-hours
    recorded_late: float  # requests
    replayed_hours: float  # of the operator's rule
    replayed_late: float
    peak_load: float | None = None  # erlangs


class Moment(Struct, frozen=True, kw_only=True):
    """An hour in which the operator's rule would have made a difference."""

    at: float
    deployment: str
    sentence: str
    late_difference: float  # requests; negative: fewer would have been late
    hours_difference: float  # allocation-hours; negative: fewer would have been used


class DeploymentReplay(Struct, frozen=True, kw_only=True):
    """One deployment.

    There is no verdict if the simulation of what really ran misses what was observed by more than
    its interval, or if the record does not suffice; `refusals` has a sentence for each assumption
    that failed.
    """

    deployment: str
    rule: str
    since: float  # Unix seconds
    until: float
    known_s: float | None = (
        None  # time of which the load is known; all figures are of it. None: all
    )
    requests: int
    slo_target: float
    slo_wait_s: float
    observed: PolicyResult  # what really ran, as recorded
    simulated: PolicyResult  # the same, simulated
    policies: tuple[PolicyResult, ...] = ()  # the operator's rule first
    refusals: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()  # what is not known from the record, and was assumed
    hours: tuple[HourResult, ...] = ()
    moments: tuple[Moment, ...] = ()  # those that mattered most, at most five
    advice: tuple[str, ...] = ()  # what to change in the rule

    @property
    def has_verdict(self) -> bool:
        return not self.refusals


class ReplayResults(Struct, frozen=True, kw_only=True):
    """All deployments of one replay."""

    program: str
    source: str  # the file, or where the load is from
    since: float
    until: float
    deployments: tuple[DeploymentReplay, ...]
    left_out: tuple[str, ...] = ()  # a sentence for each deployment that could not be replayed
    failed: int = 0  # deployments of those left out whose simulation failed
    unknown: tuple[str, ...] = ()  # a sentence for each figure that the source does not have
