"""The stored form of the memory of the policy `slo`, version 3; see `state_document`."""

from autoscaler.core.slo.count_history import blocks_of
from autoscaler.wire.state_document import Stored

LoadProbabilities = dict[int, float]
"""Probabilities by the index of a load. The order counts: sums of floats depend on it."""


class StoredCandidate(Stored, frozen=True, kw_only=True):
    allocations: int
    violation_fraction: float
    queue_wait_s: float
    cost: float


class StoredStep(Stored, frozen=True, kw_only=True):
    reason: str
    before: int
    after: int
    inputs: dict[str, float | str]
    candidates: tuple[StoredCandidate, ...]


class StoredServiceTime(Stored, frozen=True, kw_only=True):
    requests: float
    busy_s: float
    scv: float


class StoredRate(Stored, frozen=True, kw_only=True):
    requests: float
    time_s: float


class StoredMixture(Stored, frozen=True, kw_only=True):
    rates: tuple[StoredRate, ...]
    histories: tuple[LoadProbabilities, ...]
    weights: tuple[float, ...]
    prior_weights: tuple[float, ...]
    unforeseen: float


class StoredErrorBudget(Stored, frozen=True, kw_only=True):
    violations: float
    requests: float
    time_s: float
    counted_violations: float
    unpreventable: float


class StoredAttainment(Stored, frozen=True, kw_only=True):
    violations: float
    requests: float
    preventable: float


class StoredCalibration(Stored, frozen=True, kw_only=True):
    level: float
    coverage: float
    margin: float
    median: float
    outcomes: int
    scores: bytes  # 32-bit floats
    ranked: bytes


class StoredHorizonRecord(Stored, frozen=True, kw_only=True):
    calibration: StoredCalibration
    seasonal: int
    point_errors: tuple[float, float, float, float]
    weights: tuple[float, float, float, float]
    error: float


class StoredPendingForecast(Stored, frozen=True, kw_only=True):
    due_at: float
    points: tuple[float, float, float, float]
    seasonal: bool
    highest: float


class StoredProfile(Stored, frozen=True, kw_only=True):
    slot: int
    week: bytes  # 16-bit floats, little-endian
    known: int
    recent: tuple[float, ...]
    daily: tuple[float, ...]
    weekly: tuple[float, ...]
    daily_error: float
    weekly_error: float
    outlook: tuple[float, ...]


class StoredForecastState(Stored, frozen=True, kw_only=True):
    profile: StoredProfile
    records: tuple[StoredHorizonRecord, ...]
    pending_forecasts: tuple[StoredPendingForecast | None, ...]
    next_forecast_at: tuple[float, ...]


class StoredForecast(Stored, frozen=True, kw_only=True):
    at: float
    level: float
    slow_level: float
    highest: float
    slot_erlang_s: float
    slot_measured_s: float
    next_due_at: float
    state: StoredForecastState | None


class StoredShortCounts(Stored, frozen=True, kw_only=True):
    requests: int
    interval_s: float
    dispersion: float
    pairs: float


class StoredCountWindow(Stored, frozen=True, kw_only=True):
    requests: int
    time_s: float
    before: int | None
    before_s: float
    dispersion: float
    jumped: bool
    short: StoredShortCounts


class StoredCountHistory(Stored, frozen=True, kw_only=True):
    slot: int
    rates: bytes  # 16-bit floats, little-endian
    count: float
    observed_s: float

    @property
    def blocks(self) -> tuple[bytes, ...]:
        """The rates as the policy has them in memory."""
        return blocks_of(self.rates)


class StoredPeriodError(Stored, frozen=True, kw_only=True):
    slots: float
    rate: float
    square: float
    error: float
    naive: float


class StoredRecurrence(Stored, frozen=True, kw_only=True):
    history: StoredCountHistory
    errors: tuple[StoredPeriodError, ...]
    period: int | None


class StoredAlert(Stored, frozen=True, kw_only=True):
    cause: str
    until: float


class StoredBacklog(Stored, frozen=True, kw_only=True):
    since: float
    queued: int
    allocations: int


class StoredIncrease(Stored, frozen=True, kw_only=True):
    at: float
    load: float
    expected_duration_s: float
    too_few: int


class StoredObservedPlacements(Stored, frozen=True, kw_only=True):
    latest: tuple[tuple[int, tuple[int, ...]], ...]
    keeps_nodes: bool
    takes_nodes: bool


class StoredUnforeseen(Stored, frozen=True, kw_only=True):
    probability: float
    until: float


class StoredSloEstimate(Stored, frozen=True, kw_only=True):
    service_time: StoredServiceTime
    max_wait: float
    mixture: StoredMixture
    rate_per_s: float
    peak_per_s: float
    postponed: bool
    alert: StoredAlert | None
    unforeseen: StoredUnforeseen | None
    budget: StoredErrorBudget
    attainment: StoredAttainment
    expected_until: float
    forecast: StoredForecast | None
    backlog: StoredBacklog | None
    increase: StoredIncrease | None
    running: int
    placements: StoredObservedPlacements
    step: StoredStep | None


class StoredQueueSnapshot(Stored, frozen=True, kw_only=True):
    in_flight: int
    running: int
    interval_s: float
    late_per_s: float


class StoredSloMemory(Stored, frozen=True, kw_only=True):
    estimate: StoredSloEstimate
    requests: int
    violations: float
    preventable: float
    timed: int
    timed_s: float
    time_s: float
    window: StoredCountWindow
    recurrence: StoredRecurrence
    queue: StoredQueueSnapshot
    in_flight_before: int
    doubtful_s: float
    at: float
