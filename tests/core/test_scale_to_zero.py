"""When a deployment is idle, and when 0 allocations are safe."""

import pytest

from autoscaler.core.flow.planning import plan
from autoscaler.core.scale_to_zero import decide_stopped, idle_since, unsafe_reason, version_of
from autoscaler.core.selection import ScaleToZero, ZeroMethod
from autoscaler.core.state import BackOff, ClusterCapacity, StartAttempt, State, StoppedDeployment
from autoscaler.core.values import Cluster, DataIssue, NodeCapacity, Reason, Sample
from tests.observations import deployment, node, observation, policy, rule

ADAPTIVE, STOP = ScaleToZero(1800.0, ZeroMethod.ADAPTIVE), ScaleToZero(1800.0, ZeroMethod.STOP)


def cluster(*versions):
    nodes = [
        NodeCapacity(node_id=f"n{place}", name=f"ml-{place}", version=version)
        for place, version in enumerate(versions)
    ]
    return Cluster(nodes=tuple(nodes))


def sample(**given):
    return Sample(at=100.0, interval_s=10.0, **given)


def test_a_deployment_without_requests_stays_idle():
    assert idle_since(40.0, sample()) == 40.0


@pytest.mark.parametrize(
    "given",
    [{"completed": 1}, {"failed": 1}, {"in_flight": 1}, {"issues": (DataIssue.INCOMPLETE,)}],
    ids=["completed", "failed", "in flight", "unknown"],
)
def test_any_request_and_any_data_quality_issue_restarts_the_idle_time(given):
    assert idle_since(40.0, sample(**given)) == 100.0


@pytest.mark.parametrize(
    ("versions", "known"),
    [
        (("8.19.3",), (8, 19, 3)),
        (("9.2.0", "9.2.0"), (9, 2, 0)),
        (("9.3.0-SNAPSHOT",), (9, 3, 0)),
        (("8.19.3", "9.2.0"), None),
        (("",), None),
        ((), None),
    ],
)
def test_the_version_is_that_of_all_nodes(versions, known):
    assert version_of(cluster(*versions)) == known


def test_without_a_report_about_the_nodes_the_version_is_unknown():
    assert version_of(None) is None


SAME_IDS = deployment(node(), deployment_id="elser", model_id="elser")
PAIR = deployment(node(), deployment_id="elser-search", model_id="elser")


@pytest.mark.parametrize("version", [(9, 3, 5), (9, 3, 8), (9, 4, 0), (9, 5, 4), (10, 0, 0)])
def test_adaptive_allocations_may_scale_it_to_zero(version):
    assert unsafe_reason(ADAPTIVE, SAME_IDS, None, version) == ""


@pytest.mark.parametrize(
    ("version", "because"),
    [
        (None, ["unknown"]),
        ((8, 15, 5), ["8.16 and later"]),
        ((8, 16, 0), ["#146806"]),
        ((8, 18, 2), ["#146806"]),
        ((8, 19, 14), ["#146806"]),
        ((8, 19, 99), ["#146806"]),
        ((9, 0, 8), ["#146806"]),
        ((9, 1, 0), ["#137134", "#146806"]),
        ((9, 2, 4), ["#137134", "#146806"]),
        ((9, 3, 0), ["#146806"]),
        ((9, 3, 4), ["#146806", "9.3.5 and later"]),
    ],
)
def test_not_in_versions_that_would_delete_or_never_resume_it(version, because):
    reason = unsafe_reason(ADAPTIVE, SAME_IDS, None, version)
    assert all(text in reason for text in because)
    assert ("#137134" in reason) is ("#137134" in because)


def test_every_defect_is_named_with_what_triggers_it():
    assert unsafe_reason(ADAPTIVE, SAME_IDS, None, (9, 2, 0)) == (
        "9.2.0 may delete it while it has no allocations, when another deployment is started "
        "(elasticsearch#137134) or when a node shuts down (elasticsearch#146806); 9.3.5 and later "
        "do not"
    )


def test_not_under_an_id_by_which_requests_could_not_resume_it():
    assert "#146835" in unsafe_reason(ADAPTIVE, PAIR, None, (9, 4, 4))
    assert unsafe_reason(ADAPTIVE, PAIR, None, (9, 4, 5)) == ""


@pytest.mark.parametrize("version", [None, (8, 6, 0), (9, 1, 0)])
def test_it_can_be_stopped_in_any_version(version):
    assert unsafe_reason(STOP, PAIR, None, version) == ""


def test_not_if_it_belongs_to_an_inference_endpoint():
    assert "my-endpoint" in unsafe_reason(STOP, SAME_IDS, "my-endpoint", (9, 3, 0))


@pytest.mark.parametrize(("at", "wait_s"), [(1_000.0, 240.0), (1_239.0, 1.0), (1_240.0, None)])
@pytest.mark.parametrize("refused", ["the start", "all changes"])
def test_a_refused_start_waits_for_the_rest_of_its_back_off(refused, at, wait_s):
    back_off = BackOff(times=3, until=1_240.0, reason="no_capacity")
    own, of_all = (back_off, None) if refused == "the start" else (None, back_off)
    decision = decide_stopped(
        "elser",
        StoppedDeployment(stats=deployment(node(allocations=2)), since=100.0, back_off=own),
        rule(zero=STOP),
        at=at,
        resume_requested={"elser"},
        maintenance="",
        forbidden=of_all,
        settling={},
    )
    assert (decision.sample.interval_s, decision.load) == (0.0, None), "nothing is measured"
    last = decision.steps[-1]
    if wait_s is None:
        assert last.reason is Reason.RESUME
        assert decision.change is not None
    else:
        assert last.reason is Reason.BACK_OFF
        assert last.inputs["wait_s"] == wait_s
        assert decision.change is None


@pytest.mark.parametrize(("waited_s", "reported"), [(10.0, False), (29.0, False), (30.0, True)])
def test_an_accepted_start_has_half_a_minute_to_be_seen(waited_s, reported):
    stopped = StoppedDeployment(stats=deployment(node(allocations=2)), since=0.0)
    state = State(
        stopped={"elser": stopped},
        resume_requested=frozenset({"elser"}),
        starts={"elser": StartAttempt(at=100.0, accepted=True, capacity=ClusterCapacity())},
    )
    planned, state = plan(state, observation(100.0 + waited_s), policy(rule(zero=STOP)))
    assert bool(planned.no_effect) == reported
    assert (state.stopped["elser"].back_off is not None) == reported
