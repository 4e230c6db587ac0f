"""What is kept of the last cycle, and the JSON it becomes."""

import math

import msgspec
import pytest

from autoscaler.adapters.admin_http.decisions import (
    FORGET_AFTER_S,
    DecisionRecorder,
    NoObservationYet,
    NoSuchDeployment,
)
from autoscaler.adapters.admin_http.document import DeploymentResponse, DeploymentsResponse
from autoscaler.core.values import (
    Candidate,
    DataIssue,
    OutcomeKind,
    Reason,
    Sample,
    Step,
    Unmanaged,
)
from autoscaler.ports import FailureKind, ObservationFailed
from tests.adapters.recorded import cycle, decision, outcome, steady
from tests.fakes import FakeClock


@pytest.fixture
def clock():
    return FakeClock(start=1_000.0)


@pytest.fixture
def decisions(clock):
    return DecisionRecorder(clock, "1.2.3")


def calm(deployment_id="elser", at=1_000.0):
    return outcome(steady(deployment_id, at=at), OutcomeKind.UNCHANGED)


WEIGHED = Step(
    Reason.SLO,
    3,
    3,
    {"offered_load": 2.0, "spread": 0.2, "clearing": math.inf},
    (
        Candidate(allocations=2, violation_fraction=1.0, queue_wait_s=math.inf, cost=math.inf),
        Candidate(allocations=3, violation_fraction=0.006, queue_wait_s=0.12, cost=3.1),
    ),
)


def test_everything_is_told(decisions):
    sample = Sample(
        at=1_000.0, interval_s=10.0, completed=90, in_flight=7, issues=(DataIssue.COUNTER_RESET,)
    )
    weighed = decision(steps=(WEIGHED,), sample=sample)
    decisions.planned(*cycle(outcome(weighed, OutcomeKind.UNCHANGED)))
    told = msgspec.to_builtins(decisions.get_deployment("elser").deployment)
    assert told["status"] == "managed"
    assert (told["current"], told["wanted"], told["desired"]) == (3, 3, 3)
    assert (told["minimum"], told["maximum"], told["rule"], told["dry_run"]) == (1, 6, "all", False)
    assert told["sentence"].startswith("elser stays at 3: load 2.00 ± 0.20: 3 cost least")
    assert told["nothing_changed_because"].startswith("load 2.00 ± 0.20")
    assert told["sample"]["arrivals"] == 90
    assert told["sample"]["issues"] == ("reset",)
    assert told["load"]["offered_load"] == 4.5
    (step,) = told["steps"]
    assert (step["reason"], step["before"], step["after"]) == ("slo", 3, 3)
    assert step["reason"]["offered_load"] == 2.0
    assert told["outcome"]["fate"] == "unchanged"
    assert told["last_update"] is None


def test_what_is_without_bound_is_null_in_json(decisions):
    decisions.planned(*cycle(outcome(decision(steps=(WEIGHED,)), OutcomeKind.UNCHANGED)))
    read = msgspec.json.decode(
        msgspec.json.encode(decisions.get_deployment("elser")), type=DeploymentResponse
    )
    (step,) = read.deployment.steps
    assert [candidate.queue_wait_s for candidate in step.candidates] == [None, 0.12]
    assert step.inputs["clearing"] is None


def test_figures_that_are_counts_stay_whole(decisions):
    decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
    assert b'{"min_allocations":1,"max_allocations":6}' in msgspec.json.encode(
        decisions.get_deployment("elser")
    )


def test_what_is_written_is_what_is_read(decisions):
    decisions.planned(
        *cycle(
            outcome(decision("a"), OutcomeKind.NO_CAPACITY, "no room"),
            calm("b"),
            unmanaged={".c": Unmanaged.HIDDEN},
            unreadable={"d": "$.x: nonsense"},
        )
    )
    told = decisions.list_deployments()
    assert msgspec.json.decode(msgspec.json.encode(told), type=DeploymentsResponse) == told
    assert [each.deployment for each in told.deployments] == [".c", "a", "b", "d"]


def test_those_left_alone_are_told_with_the_reason(decisions):
    decisions.planned(*cycle(unmanaged={"x": Unmanaged.NO_RULE}, unreadable={"y": "$.z: nonsense"}))
    assert [(each.reason, each.sentence) for each in decisions.list_deployments().deployments] == [
        ("no_rule", "x is left alone: no rule matches it"),
        ("unreadable", "y is left as it is while its statistics cannot be read: $.z: nonsense"),
    ]


class TestTheLastUpdate:
    def test_it_is_told_with_the_clusters_words_long_after(self, decisions):
        refused = outcome(decision(), OutcomeKind.NO_CAPACITY, "could not update")
        decisions.planned(*cycle(refused))
        decisions.planned(*cycle(calm(at=1_010.0), at=1_010.0))
        told = decisions.get_deployment("elser").deployment
        assert told.outcome.kind == "unchanged"
        last = told.last_update
        assert (last.at, last.current, last.desired, last.kind) == (1_000.0, 3, 6, "no_capacity")
        assert last.detail == "could not update"
        assert last.sentence == "refused for lack of capacity: could not update"

    @pytest.mark.parametrize(
        "fate", [OutcomeKind.UNCHANGED, OutcomeKind.DRY_RUN, OutcomeKind.WITHHELD]
    )
    def test_what_was_not_sent_is_none(self, decisions, fate):
        decisions.planned(*cycle(outcome(decision(), fate)))
        assert decisions.get_deployment("elser").deployment.last_update is None

    @pytest.mark.parametrize(("gone_for_s", "kept"), [(-1.0, True), (0.0, False)])
    def test_of_one_that_has_gone_it_is_kept_for_a_while(self, decisions, gone_for_s, kept):
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        at = 1_000.0 + FORGET_AFTER_S + gone_for_s
        decisions.planned(*cycle(at=at))
        decisions.planned(*cycle(calm(at=at), at=at))
        assert (decisions.get_deployment("elser").deployment.last_update is not None) == kept

    def test_of_one_that_stays_it_is_kept_for_good(self, decisions):
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        at = 1_000.0 + 10.0 * FORGET_AFTER_S
        decisions.planned(*cycle(calm(at=at), at=at))
        assert decisions.get_deployment("elser").deployment.last_update is not None


def test_the_age_and_what_went_wrong_since_are_told(decisions, clock):
    decisions.planned(*cycle(calm()))
    clock.pass_by(30.0)
    decisions.skipped(ObservationFailed(FailureKind.TIMEOUT, "no answer"), clock.now())
    assert (decisions.list_deployments().age_s, decisions.list_deployments().failure) == (
        30.0,
        "no answer",
    )
    decisions.planned(*cycle(calm(at=1_030.0), at=1_030.0))
    assert (decisions.list_deployments().age_s, decisions.list_deployments().failure) == (0.0, "")


def test_before_the_first_cycle_there_is_nothing_to_tell(decisions):
    with pytest.raises(NoObservationYet, match=r"^the cluster has not been observed yet$"):
        decisions.list_deployments()
    with pytest.raises(NoObservationYet):
        decisions.get_deployment("elser")


def test_an_unknown_one_is_named_without_a_guess_if_none_is_alike(decisions):
    decisions.planned(*cycle(calm()))
    with pytest.raises(NoSuchDeployment, match=r"^the cluster reports no deployment zzz$"):
        decisions.get_deployment("zzz")
