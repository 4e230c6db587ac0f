"""What a policy knows of the SLO of one deployment, at one poll.

The statistics contain no queue waits. Everything here is computed from what they do contain; only
the requests are counted.
"""

from autoscaler.core.values import Value


class Expectation(Value, frozen=True, kw_only=True):
    """What the requests of the present load meet with one allocation count."""

    allocations: int
    late_fraction: float
    queue_wait_s: float  # not exceeded by the fraction of requests that the SLO target names


class ForecastStatus(Value, frozen=True, kw_only=True):
    """The forecast, and how good it was until now."""

    trusted: bool  # whether it may add allocations
    load: float | None = None  # erlangs, which are probably not exceeded; None: not trusted
    median_load: float | None = None  # erlangs; None: not trusted
    error_ratio: float | None = None  # of its mean error to that of a naive forecast
    coverage: float | None = None  # fraction of the last forecasts that were not exceeded
    allocations: int | None = None  # that it requires on a further node; None: none


class RecurrenceStatus(Value, frozen=True, kw_only=True):
    """A load that recurs and changes within the next minutes."""

    every_s: float
    load: float  # erlangs, expected at this time
    change_in_s: float | None = None
    allocations: int | None = None  # that it requires on a further node; None: none


class SloStatus(Value, frozen=True, kw_only=True):
    """The SLO of one deployment. None: unknown.

    `requests` and `late_requests` are those of this cycle alone, so that their sums over all cycles
    are counts; both are 0 if the policy has learnt nothing in it.
    """

    target: float  # fraction of requests that must meet the SLO
    unreachable: bool = False  # the service time alone exceeds the latency
    max_queue_wait_s: float | None = None  # that meets the SLO
    caller_timeout_s: float | None = None  # callers give up after this queue wait
    requests: int = 0  # cache hits are none
    late_requests: float = 0.0
    attainment: float | None = None  # over about a day, of the running allocations
    expected_attainment: float | None = None  # of recommendations that are not carried out
    preventable_fraction: float | None = None  # of the late requests; None without any
    violation_weight: float | None = None  # allocations that one erlang of late requests counts for
    load: float | None = None  # erlangs to expect until the next decision has an effect
    load_stddev: float | None = None
    load_at_most: float | None = None  # an overload hides the load, which is no higher than this
    now: Expectation | None = None  # with the allocations that run
    after_loading: Expectation | None = None  # with the desired ones, once all of them run
    backlog_requests: int | None = None
    backlog_allocations: int | None = None  # that drain it in time
    after_new_node: int | None = None  # allocations to request once a new node is in use
    forecast: ForecastStatus | None = None  # None: there is none with a single node
    recurrence: RecurrenceStatus | None = None  # None: nothing recurs within minutes

    @property
    def budget_left(self) -> float | None:
        """The part of the error budget of about a day that is left; below 0, it is exceeded.

        >>> round(SloStatus(target=0.99, attainment=0.995).budget_left, 3)
        0.5
        """
        if self.attainment is None:
            return None
        return 1.0 - (1.0 - self.attainment) / (1.0 - self.target)
