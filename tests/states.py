"""States for tests: one with all fields filled, any state at all, and comparison despite nan."""

import collections.abc
import math
import types
import typing
from enum import Enum
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct

from autoscaler.core.decision import ExternalChange, Mode, Setting
from autoscaler.core.forecast.calibration import Calibration
from autoscaler.core.forecast.evaluation import HorizonRecord, PendingForecast
from autoscaler.core.forecast.forecaster import ForecastMemory, ForecastState
from autoscaler.core.forecast.seasonality import SeasonalProfile
from autoscaler.core.gradual_rollout import GradualRollout
from autoscaler.core.next_poll import PollCause
from autoscaler.core.process_memory import MemoryUse, SeenProcess
from autoscaler.core.rollout_comparison import BlockHour, BlockTotals, Evidence
from autoscaler.core.rollout_status import RolloutVerdict
from autoscaler.core.shadow import HourSums, ShadowAccount, ShadowPeriod, ShadowTotals
from autoscaler.core.shortfall import Shortfall, ShortfallCause
from autoscaler.core.slo.count_history import CountHistory, blocks_of
from autoscaler.core.slo.count_window import CountWindow
from autoscaler.core.slo.error_budget import Attainment, ErrorBudget
from autoscaler.core.slo.increase import Increase
from autoscaler.core.slo.load_distribution import LoadMixture, RateEstimate
from autoscaler.core.slo.memory import (
    Alert,
    Backlog,
    QueueSnapshot,
    SloEstimate,
    SloMemory,
    Unforeseen,
)
from autoscaler.core.slo.placement import ObservedPlacements
from autoscaler.core.slo.recurrence import PeriodError, Recurrence
from autoscaler.core.slo.service_time import ServiceTimeEstimate
from autoscaler.core.slo.short_counts import ShortCounts
from autoscaler.core.state import (
    BackOff,
    CapacityRefusal,
    Circumstances,
    ClusterCapacity,
    DeploymentState,
    Disagreement,
    PolicyMemory,
    Request,
    Rollout,
    Shadow,
    ShadowPath,
    StartAttempt,
    State,
    StoppedDeployment,
)
from autoscaler.core.values import (
    AdaptiveAllocations,
    Candidate,
    DataIssue,
    DeploymentStats,
    NodeStats,
    Reason,
    Sample,
    Step,
)

PROFILE = SeasonalProfile(
    slot=5_900_000,
    week=bytes(range(8)),
    known=300,
    recent=(1.0, math.nan),
    daily=(2.0, 3.0),
    weekly=(4.0, math.nan),
    daily_error=0.5,
    weekly_error=math.nan,
    outlook=(6.0, 7.0),
)
RECORD = HorizonRecord(
    calibration=Calibration(
        level=0.96,
        coverage=0.94,
        margin=1.5,
        median=0.25,
        outcomes=3,
        scores=b"\0\1\2\3",
        ranked=b"\3\2\1\0",
    ),
    seasonal=2,
    point_errors=(1.0, 2.0, 3.0, 4.0),
    weights=(0.4, 0.3, 0.2, 0.1),
    error=0.75,
)
PENDING = PendingForecast(due_at=90.5, points=(1.0, 2.0, 3.0, 4.0), seasonal=True, highest=5.0)
FORECAST = ForecastMemory(
    70.0,
    2.5,
    2.25,
    3.5,
    25.0,
    10.0,
    80.0,
    ForecastState(
        profile=PROFILE,
        records=(RECORD,),
        pending_forecasts=(PENDING, None),
        next_forecast_at=(math.inf, 500.0),
    ),
)
STEP = Step(
    Reason.SLO,
    2,
    3,
    {"offered_load": 1.5, "slo_unreachable": "out of reach"},
    (Candidate(allocations=3, violation_fraction=0.01, queue_wait_s=math.inf, cost=4.5),),
)
MEMORY = SloMemory(
    estimate=SloEstimate(
        service_time=ServiceTimeEstimate(10.0, 1.0, 0.7),
        max_wait=2.0,
        mixture=LoadMixture(
            rates=(RateEstimate(100.0, 10.0), RateEstimate(600.0, 60.0)),
            histories=({3: 0.25, 1: 0.75}, {}),
            weights=(0.5, 0.25, 0.25),
            prior_weights=(0.2, 0.3, 0.5),
            unforeseen=0.125,
        ),
        rate_per_s=10.0,
        peak_per_s=20.0,
        postponed=True,
        alert=Alert(PollCause.JUMP, 700.0),
        unforeseen=Unforeseen(0.5, 700.0),
        budget=ErrorBudget(
            violations=1.5, requests=1000.0, time_s=600.0, counted_violations=1.0, unpreventable=0.5
        ),
        attainment=Attainment(violations=2.5, requests=1000.0, preventable=1.5),
        expected_until=90.0,
        forecast=FORECAST,
        backlog=Backlog(60.0, 40, 5),
        increase=Increase(50.0, 1.5, 300.0, 2),
        running=2,
        placements=ObservedPlacements(
            latest=((3, (1, 2)), (2, (1, 1))), keeps_nodes=True, takes_nodes=True
        ),
        step=STEP,
    ),
    requests=100,
    violations=0.5,
    preventable=0.25,
    timed=99,
    timed_s=9.5,
    time_s=20.0,
    window=CountWindow(
        requests=50,
        time_s=8.0,
        before=60,
        before_s=10.5,
        dispersion=1.25,
        jumped=True,
        short=ShortCounts(requests=9, interval_s=2.0, dispersion=1.5, pairs=12.5),
    ),
    recurrence=Recurrence(
        history=CountHistory(slot=60, blocks=(bytes(range(8)),), count=12.5, observed_s=2.5),
        errors=(PeriodError(12.0, 120.0, 1300.0, 7.0, 90.0), PeriodError()),
        period=1,
    ),
    queue=QueueSnapshot(in_flight=4, running=2, interval_s=10.5, late_per_s=0.25),
    in_flight_before=3,
    doubtful_s=0.75,
    at=600.0,
)
STATS = DeploymentStats(
    "elser-search",
    ".elser_model_2",
    "started",
    "because",
    "low",
    2,
    1,
    3,
    "starting",
    4,
    1024,
    2048,
    AdaptiveAllocations(enabled=False, minimum=1, maximum=8),
    1_000.5,
    11,
    12,
    13,
    14,
    15,
    16,
    (
        NodeStats(
            node_id="n1",
            routing_state="started",
            name="ml-1",
            routing_reason="why",
            server_started_at=1_001.5,
            allocations=1,
            threads_per_allocation=4,
            completed=21,
            cache_hits=22,
            errors=23,
            rejections=24,
            timeouts=25,
            busy_s=2.6,
            mean_inference_s=0.27,
            mean_inference_without_hits_s=0.28,
            pending=29,
            server_last_access_at=1_030.5,
            throughput_last_minute=31,
            peak_throughput_per_minute=32,
            mean_inference_last_minute_s=0.33,
            cache_hits_last_minute=34,
            memory_bytes=35,
        ),
    ),
    36,
    37,
)
SAMPLE = Sample(
    at=60.0,
    interval_s=10.0,
    uncertainty_s=0.4,
    completed=41,
    cache_hits=42,
    failed=43,
    timeouts=44,
    queue_growth=-45,
    busy_s=4.6,
    timed=47,
    timed_busy_s=4.8,
    in_flight=49,
    unacknowledged=2,
    overloaded=True,
    # In the order of the golden files; an issue that was added since is not in them.
    issues=tuple(issue for issue in DataIssue if issue is not DataIssue.NOT_REPORTED),
)
TOTALS = ShadowTotals(
    known_s=600.0,
    unknown_s=10.0,
    judged_s=500.0,
    recorded_s=6000.0,
    shadow_s=3000.0,
    requests=5000.0,
    recorded_late=1.5,
    shadow_late=2.5,
)
SHADOW = Shadow(
    seen_at=60.0,
    account=ShadowAccount(
        past=bytes(range(68)),
        day=ShadowPeriod(
            begins_at=86_400.0,
            totals=TOTALS,
            sums=HourSums(
                hours=2.0,
                saved_squared=3.0,
                requests_squared=4.0,
                recorded_squared=5.0,
                shadow_squared=6.0,
                recorded_shadow=7.0,
                recorded_requests=8.0,
                shadow_requests=9.0,
            ),
        ),
        hour_at=90_000.0,
        hour=TOTALS,
    ),
    path=ShadowPath(
        at=60.0,
        requested=5,
        running=3,
        ready_at=120.0,
        per_node=(1, 2),
        recorded_per_node=(5, 5),
        backlog=1.5,
        recorded_backlog=2.5,
    ),
)
CAPACITY = ClusterCapacity(frozenset({"n2", "n1", "n3"}), 24.0, 17)
BACK_OFF = BackOff(times=3, until=300.5, reason="no capacity")
DEPLOYMENT = DeploymentState(
    seen_at=60.0,
    baseline=STATS,
    baseline_at=50.0,
    baseline_span_s=0.5,
    samples=(SAMPLE,),
    service_time_s=0.05,
    peaks=((40.0, 7), (50.0, 3)),
    memory=PolicyMemory("slo", 3, MEMORY),
    above_burst_s=12.0,
    stalled_since=51.0,
    unsettled_since=52.0,
    infeasible=CapacityRefusal(
        allocations=9, capacity=CAPACITY, hold_s=120.0, until=200.0, at=80.0, early=2
    ),
    rollout=Rollout(allocations=3, accepted_at=45.0, nodes=frozenset({"n2", "n1"}), at_least=True),
    new_node_s=65.0,
    back_off=BACK_OFF,
    bounds_moved_at=33.0,
    recent_updates=0b1010,
    mode_seen=Mode.BOUNDS,
    idle_since=34.0,
    usage=bytes(range(84)),
    ran=16,
    shortfall=Shortfall(
        since=35.0,
        progress_at=36.0,
        requested=24,
        running=16,
        lost=7,
        cause=ShortfallCause.LOST,
    ),
    memory_use=MemoryUse(
        allocation_bytes=1.5e9, seasoned=True, processes=(SeenProcess("n1", 1_001.5, 4, 21, 7),)
    ),
    refused_in=Circumstances(
        at=55.0, state="started", setting=Setting(2), capacity=CAPACITY, early=1
    ),
    setting=Setting(None, 1, 8),
    request=Request(
        setting=Setting(3),
        at=45.0,
        accepted=True,
        earlier=(Setting(2), Setting(None, 1, 8)),
        shown=True,
        visible=True,
    ),
    disagreement=Disagreement(
        unacknowledged=3, since=41.0, awaited=frozenset({"n2"}), contradictory_since=42.0
    ),
    external_change=ExternalChange(
        deployment_id="elser-search",
        at=44.0,
        before=Setting(2),
        after=Setting(None, 1, 8),
        times=3,
        hold_s=1200.0,
    ),
    shadow=SHADOW,
)
GRADUAL_ROLLOUT = GradualRollout(
    settings="0123456789abcdef",
    seed=2**62 + 1,
    since=11.0,
    first_block=3,
    seen_at=60.0,
    before=Setting(None, 1, 9),
    created_at=5.0,
    verdict=RolloutVerdict.REVERTED,
    reverted_at=58.0,
    because="many requests were late",
    block=4,
    active=True,
    switched_at=41.0,
    active_totals=BlockTotals(
        requests=100.0,
        late=7.5,
        seconds=3600.0,
        allocation_s=7200.0,
        hours=2,
        hour_requests=90.0,
        hour_late=7.0,
        requests_squared=4100.0,
        late_squared=25.0,
        late_requests=320.0,
    ),
    before_totals=BlockTotals(requests=80.0),
    hour=BlockHour(requests=10.0, late=0.5),
    evidence=Evidence(
        log_capital=(0.5, 1.0, 1.5, 2.0),
        requests=5.0,
        late=1.5,
        unavoidable=0.25,
        seconds=30.0,
        run_requests=40.0,
        run_late=20.0,
        run_s=240.0,
    ),
)
WHOLE = State(
    deployments={
        "elser-search": DEPLOYMENT,
        "e5": DeploymentState(
            seen_at=60.0,
            baseline=STATS,
            baseline_at=60.0,
            memory=PolicyMemory("utilisation", 1, None),
        ),
    },
    capacity=CAPACITY,
    cluster_back_off=BACK_OFF,
    stopped={"idle": StoppedDeployment(stats=STATS, since=9.5, usage=b"\xff", back_off=BACK_OFF)},
    resume_requested=frozenset({"idle", "also"}),
    starts={"idle": StartAttempt(at=59.0, accepted=True, capacity=CAPACITY, early=3)},
    seen_at=60.0,
    cold_start_s=40.0,
    is_first_start=True,
    rollouts={"elser-search": GRADUAL_ROLLOUT},
)
"""A state in which no field has its default."""


def hints(cls: type[Struct]) -> dict[str, Any]:
    """The types of the fields of a struct, in order."""
    found = typing.get_type_hints(cls)
    return {name: found[name] for name in cls.__struct_fields__}


def any_of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that occurs in the state, nan, inf and empty ones included."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([any_of(each) for each in arguments])
    if origin is tuple and arguments[-1] is ...:
        return st.lists(any_of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(any_of, arguments))
    if origin in {dict, collections.abc.Mapping}:
        return st.dictionaries(*map(any_of, arguments), max_size=3)
    if origin is frozenset:
        return st.frozensets(any_of(arguments[0]), max_size=3)
    if issubclass(hint, Struct):
        return any_struct(hint)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return PLAIN[hint]


PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    float: st.floats(),
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    str: st.text(max_size=5),
    bytes: st.binary(max_size=9),
    type(None): st.none(),
}


UNSAVED = {(State, "unmanaged"), (ShadowPath, "known")}
"""Fields of the core that are not saved."""

STORED_AS = {(CountHistory, "blocks"): "rates"}
"""Fields of the core that have another form and name where they are stored."""


def any_struct(cls: type[Struct]) -> st.SearchStrategy[Any]:
    """Any struct of this class."""
    if cls is PolicyMemory:
        slo = st.builds(PolicyMemory, st.just("slo"), st.just(3), st.deferred(any_slo_memory))
        return slo | st.just(PolicyMemory("utilisation", 1, None))
    fields = {name: any_of(hint) for name, hint in hints(cls).items() if (cls, name) not in UNSAVED}
    if cls is CountHistory:
        fields["blocks"] = st.binary().map(blocks_of)
    return st.builds(cls, **fields)


def any_slo_memory() -> st.SearchStrategy[SloMemory]:
    return any_struct(SloMemory)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, with nan equal to nan, and in the same order."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other  # `BackOff.reason` may be an enumeration
    if type(one) is not type(other):
        return False
    if isinstance(one, Struct):
        return all(same(getattr(one, f), getattr(other, f)) for f in one.__struct_fields__)
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict):
        return list(one) == list(other) and same(tuple(one.values()), tuple(other.values()))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
