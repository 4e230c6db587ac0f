"""Every Recorder accepts any plan, outcome and failure, and affects nothing."""

import pytest
import structlog
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest

from autoscaler.adapters.admin_http import DecisionRecorder, Health
from autoscaler.adapters.logs import LogRecorder
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.adapters.recording import CycleRecorder, RecordingLimits
from autoscaler.composite_recorder import CompositeRecorder
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Outcome, OutcomeKind, Plan
from autoscaler.core.flow.planning import plan
from autoscaler.core.state import State
from autoscaler.core.values import Cluster, NodeCapacity
from autoscaler.ports import CycleTimes, FailureKind, ObservationFailed
from autoscaler.wire.decision_views import VanishedView
from tests.fakes import FakeClock, FakeCluster, ListRecorder
from tests.observations import deployment, loading, node, observation, policy, rule

TOOK = CycleTimes(observe_s=0.1, plan_s=0.001, act_s=0.0)
START = 1_000.0


def silent_log():
    return LogRecorder(structlog.get_logger("tests").bind())


def prometheus():
    return PrometheusRecorder(FakeClock(START))


def health():
    return Health(FakeClock(START), 10.0)


def decisions():
    return DecisionRecorder(FakeClock(START), "0")


def recording(directory):
    return CycleRecorder(
        directory,
        RecordingLimits(1e9, 10**9),
        FakeClock(START),
        structlog.get_logger(),
        poll_interval_s=lambda: 10.0,
        in_thread=False,
    )


RECORDERS = {
    "prometheus": prometheus,
    "logs": silent_log,
    "health": health,
    "decisions": decisions,
    "list": ListRecorder,
    "all of them": lambda: CompositeRecorder(
        prometheus(), silent_log(), health(), decisions(), ListRecorder()
    ),
    "none": CompositeRecorder,
}


@pytest.fixture(params=[*RECORDERS, "recording"])
def recorder(request, tmp_path):
    with structlog.testing.capture_logs():
        if request.param != "recording":
            yield RECORDERS[request.param]()
            return
        recorder = recording(tmp_path)
        yield recorder
        assert recorder.failed_cycles == 0
        recorder._file.give_up()


NODES = Cluster(nodes=(NodeCapacity(node_id="n1", name="ml-1"),), upgrade_mode=True)

OBSERVED = {
    "nothing": observation(START),
    "one": observation(START, deployment(node())),
    "partial": observation(START, deployment(node(), loading(), allocations=2)),
    "not placed": observation(START, deployment(state="starting", allocations=3)),
    "allocations missing": observation(
        START,
        deployment(node(), allocations=None, target_allocations=None, running_allocations=None),
    ),
    "unmanaged": observation(START, deployment(node(), deployment_id=".hidden")),
    "unreadable": observation(START, unreadable={"elser": "no sense", "$.x": "neither"}),
    "nodes": observation(START, deployment(node()), cluster=NODES),
    "strange names": observation(START, deployment(node(), deployment_id='a"\\\n{}é')),
}


@pytest.mark.parametrize("observed", OBSERVED.values(), ids=OBSERVED)
def test_any_plan_and_any_outcome(recorder, observed):
    state = State()
    for moment, kind in enumerate(OutcomeKind):
        seen = replace(observed, at=START + 10.0 * moment)
        planned, state = plan(state, seen, policy(rule(min_allocations=2)))
        outcomes = tuple(
            Outcome(decision=decision, kind=kind, at=seen.at, detail="no room")
            for decision in planned.decisions
        )
        assert recorder.planned(seen, planned, outcomes, TOOK) is None


@pytest.mark.parametrize("kind", [*FailureKind])
def test_any_failure(recorder, kind):
    failure = ObservationFailed(kind, "it is {broken} %s")
    failure.__cause__ = ValueError("the cause")
    for at in (START, START + 10.0):
        assert recorder.skipped(failure, at) is None


def test_alternating_failures_and_plans(recorder):
    observed = OBSERVED["one"]
    for moment in range(4):
        recorder.skipped(ObservationFailed(FailureKind.TIMEOUT, "no response"), START + moment)
        recorder.planned(observed, Plan(at=START + moment, decisions=()), (), TOOK)


async def test_a_loop_can_record_to_it(recorder):
    clock = FakeClock(START)
    cluster = FakeCluster(clock, deployment(node(), deployment_id="a"))
    loop = ControlLoop(
        clock=clock,
        observer=cluster,
        actuator=cluster,
        recorder=recorder,
        ruleset=policy(rule(min_allocations=2)),
    )
    for kind in (None, FailureKind.UNREACHABLE, None):
        cluster.kind = kind
        await loop.run_cycle()
        clock.pass_by(10.0)
    assert cluster.requested == [("a", 2)]


def test_a_composite_recorder_records_to_all():
    first, second = ListRecorder(), ListRecorder()
    both = CompositeRecorder(first, second)
    failure = ObservationFailed(FailureKind.TIMEOUT, "no response")
    both.skipped(failure, START)
    both.planned(OBSERVED["nothing"], Plan(at=START, decisions=()), (), TOOK)
    for recorder in (first, second):
        assert recorder.failures == [failure]
        assert len(recorder.plans) == 1


def test_recorded_cycles_can_be_scraped():
    registry = CollectorRegistry()
    recorder = PrometheusRecorder(FakeClock(START))
    registry.register(recorder)
    for observed in OBSERVED.values():
        planned, _ = plan(State(), observed, policy())
        outcomes = tuple(
            Outcome(decision=d, kind=OutcomeKind.UNCHANGED, at=START) for d in planned.decisions
        )
        recorder.planned(observed, planned, outcomes, TOOK)
        assert generate_latest(registry)


def test_recorded_decisions_can_be_listed():
    recorder = decisions()
    for observed in OBSERVED.values():
        planned, _ = plan(State(), observed, policy(rule(min_allocations=2)))
        outcomes = tuple(
            Outcome(decision=d, kind=OutcomeKind.ACCEPTED, at=START) for d in planned.decisions
        )
        recorder.planned(observed, planned, outcomes, TOOK)
        views = recorder.list_deployments().deployments
        listed = {each.deployment for each in views if not isinstance(each, VanishedView)}
        assert listed == observed.deployments.keys() | observed.unreadable.keys()
        assert all(recorder.get_deployment(each).deployment.deployment == each for each in listed)
