"""The memory of the policy `slo`. `autoscaler.wire.slo_document` defines its stored form."""

import math

from autoscaler.core.forecast.forecaster import ForecastMemory
from autoscaler.core.next_poll import PollCause
from autoscaler.core.slo.count_window import CountWindow
from autoscaler.core.slo.error_budget import Attainment, ErrorBudget
from autoscaler.core.slo.increase import Increase
from autoscaler.core.slo.load_distribution import LoadMixture
from autoscaler.core.slo.placement import ObservedPlacements
from autoscaler.core.slo.recurrence import Recurrence
from autoscaler.core.slo.service_time import ServiceTimeEstimate
from autoscaler.core.slo.short_counts import MAX_BY_CHANCE
from autoscaler.core.values import Step, Value


class Backlog(Value, frozen=True):
    """Queued requests that violate the SLO unless allocations are added."""

    since: float  # when it was first observed
    queued: int  # requests
    allocations: int  # that drain it within `drain_s`


class Alert(Value, frozen=True):
    """Something has begun that polls have to follow closely."""

    cause: PollCause
    until: float  # Unix seconds


class QueueSnapshot(Value, frozen=True, kw_only=True):
    """The queue at a poll, and the interval before it."""

    in_flight: int = 0
    running: int = 0  # allocations
    interval_s: float = 0.0
    late_per_s: float = 0.0  # requests that become late while the queue is like this


class Unforeseen(Value, frozen=True):
    """A load jump that nothing had announced."""

    probability: float  # that nothing had
    until: float  # Unix seconds; from then on, enough allocations can run


class SloEstimate(Value, frozen=True, kw_only=True):
    """The estimates of the last recomputation, and the recommendation that followed from them."""

    service_time: ServiceTimeEstimate = ServiceTimeEstimate()
    max_wait: float = 0.0  # queue wait that the SLO allows, in mean service times
    mixture: LoadMixture = LoadMixture()
    rate_per_s: float = 0.0  # predicted arrivals; every poll is compared with it
    peak_per_s: float = 0.0  # the highest rate that was expected to recur; see `recurrence`
    postponed: bool = False  # a decrease, until there is more evidence
    alert: Alert | None = None  # None: nothing has begun that has to be watched
    unforeseen: Unforeseen | None = None  # None: the present load was foreseen
    budget: ErrorBudget = ErrorBudget()  # of the recommended allocations
    attainment: Attainment = Attainment()  # of the running allocations
    # Until then the violations of the budget are expected, and not measured: the recommendation is
    # not carried out, or was not until recently.
    expected_until: float = -math.inf
    forecast: ForecastMemory | None = None
    backlog: Backlog | None = None
    increase: Increase | None = None  # the last one
    running: int = 0  # allocations at that time
    placements: ObservedPlacements = ObservedPlacements()
    step: Step | None = None  # the recommendation


class SloMemory(Value, frozen=True, kw_only=True):
    """The memory of one deployment."""

    estimate: SloEstimate = SloEstimate()
    # Since the last recomputation. Cache hits are not counted as requests.
    requests: int = 0
    violations: float = 0.0
    preventable: float = 0.0  # violations that more allocations could have prevented
    timed: int = 0
    timed_s: float = 0.0
    time_s: float = 0.0
    # Up to the last poll.
    window: CountWindow = CountWindow()
    recurrence: Recurrence = Recurrence()
    queue: QueueSnapshot = QueueSnapshot()
    in_flight_before: int = 0  # at the poll before that
    doubtful_s: float = 0.0  # mean service time that was left out; 0: none
    at: float = -math.inf

    @property
    def dispersion(self) -> float:
        """The variance of arrival counts over their mean; within seconds if that is known, and if
        the counts of windows vary more than by chance."""
        of_windows, short = self.window.dispersion, self.window.short
        if not short.is_known:
            return of_windows
        return min(of_windows, max(MAX_BY_CHANCE, short.dispersion))
