"""The last cycle as kept for /decisions, and its JSON."""

import math

import msgspec
import pytest
from msgspec.structs import replace

from autoscaler.adapters.admin_http.decisions import (
    MAX_VANISHED,
    VANISHED_S,
    DecisionRecorder,
    NoObservationYet,
    NoSuchDeployment,
)
from autoscaler.core.decision import NoEffect, OutcomeKind, Setting, Unmanaged
from autoscaler.core.next_poll import NextPoll, PollCause
from autoscaler.core.state import FORGET_AFTER_S
from autoscaler.core.values import Candidate, DataIssue, Reason, Sample, Step
from autoscaler.ports import FailureKind, ObservationFailed
from autoscaler.wire.decision_views import DeploymentResponse, DeploymentsResponse
from tests.adapters.recorded import cycle, decision, observation, outcome, steady
from tests.fakes import FakeClock


@pytest.fixture
def clock():
    return FakeClock(start=1_000.0)


@pytest.fixture
def decisions(clock):
    return DecisionRecorder(clock, "1.2.3")


def calm(deployment_id="elser", at=1_000.0):
    return outcome(steady(deployment_id, at=at), OutcomeKind.UNCHANGED)


CHOSEN = Step(
    Reason.SLO,
    3,
    3,
    {"offered_load": 2.0, "load_stddev": 0.2, "backlog_allocations": math.inf},
    (
        Candidate(allocations=2, violation_fraction=1.0, queue_wait_s=math.inf, cost=math.inf),
        Candidate(allocations=3, violation_fraction=0.006, queue_wait_s=0.12, cost=3.1),
    ),
)


def test_when_the_next_poll_is_due_after_a_failure_is_not_known(decisions):
    decisions.planned(*cycle(calm(), next_poll=NextPoll(within_s=10.0)))
    decisions.skipped(ObservationFailed(FailureKind.TIMEOUT, "slow"), 1_010.0)
    assert decisions.header().next_poll is None
    assert decisions.list_deployments().next_poll is None


def test_when_the_next_poll_is_due_and_why(decisions):
    decisions.planned(*cycle(calm(), next_poll=NextPoll(within_s=10.0)))
    document = msgspec.to_builtins(decisions.list_deployments().next_poll)
    assert document == {"within_s": 10.0, "cause": "routine", "deployment": "", "because": ""}
    early = NextPoll(within_s=2.0, cause=PollCause.JUMP, deployment_id="elser")
    decisions.planned(*cycle(calm(), next_poll=early))
    assert msgspec.to_builtins(decisions.get_deployment("elser").next_poll) == {
        "within_s": 2.0,
        "cause": "jump",
        "deployment": "elser",
        "because": "the load has jumped (deployment elser)",
    }


def test_the_document_of_a_deployment(decisions):
    sample = Sample(
        at=1_000.0, interval_s=10.0, completed=90, in_flight=7, issues=(DataIssue.COUNTER_RESET,)
    )
    held = decision(steps=(CHOSEN,), sample=sample, change=None)
    decisions.planned(*cycle(outcome(held, OutcomeKind.UNCHANGED)))
    document = msgspec.to_builtins(decisions.get_deployment("elser").deployment)
    assert document["status"] == "managed"
    assert (document["current"], document["recommended"], document["desired"]) == (3, 3, 3)
    assert (document["min_allocations"], document["max_allocations"]) == (1, 6)
    assert (document["rule"], document["dry_run"]) == ("all", False)
    assert document["message"].startswith("elser stays at 3: load 2.00 ± 0.20: 3 cost least")
    assert document["unchanged_because"].startswith("load 2.00 ± 0.20")
    assert document["sample"]["arrivals"] == 90
    assert document["sample"]["issues"] == ("counter_reset",)
    assert document["load"]["offered_load"] == 4.5
    (step,) = document["steps"]
    assert (step["reason"], step["before"], step["after"]) == ("slo", 3, 3)
    assert step["inputs"]["offered_load"] == 2.0
    assert document["outcome"]["kind"] == "unchanged"
    assert document["last_update"] is None


def test_an_unbounded_value_is_null(decisions):
    decisions.planned(*cycle(outcome(decision(steps=(CHOSEN,)), OutcomeKind.UNCHANGED)))
    read = msgspec.json.decode(
        msgspec.json.encode(decisions.get_deployment("elser")), type=DeploymentResponse
    )
    (step,) = read.deployment.steps
    assert [candidate.queue_wait_s for candidate in step.candidates] == [None, 0.12]
    assert step.inputs["backlog_allocations"] is None


def test_counts_are_written_as_integers(decisions):
    decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
    assert b'{"min_allocations":1,"max_allocations":6}' in msgspec.json.encode(
        decisions.get_deployment("elser")
    )


def test_the_json_can_be_read_back(decisions):
    decisions.planned(
        *cycle(
            outcome(decision("a"), OutcomeKind.NO_CAPACITY, "no room"),
            calm("b"),
            unmanaged={".c": Unmanaged.HIDDEN},
            unreadable={"d": "$.x: nonsense"},
        )
    )
    response = decisions.list_deployments()
    encoded = msgspec.json.encode(response)
    assert msgspec.json.decode(encoded, type=DeploymentsResponse) == response
    assert [each.deployment for each in response.deployments] == [".c", "a", "b", "d"]


def test_a_deployment_that_is_not_managed_has_the_reason(decisions):
    decisions.planned(*cycle(unmanaged={"x": Unmanaged.NO_RULE}, unreadable={"y": "$.z: nonsense"}))
    views = decisions.list_deployments().deployments
    assert [(each.reason, each.message) for each in views] == [
        ("no_rule", "x is not managed: no rule matches it"),
        ("unreadable", "y is not managed while its statistics are invalid: $.z: nonsense"),
    ]
    assert {msgspec.to_builtins(each)["status"] for each in views} == {"unmanaged"}


class TestTheLastUpdate:
    def test_it_is_kept_with_the_message_of_the_cluster(self, decisions):
        refused = outcome(decision(), OutcomeKind.NO_CAPACITY, "could not update")
        decisions.planned(*cycle(refused))
        decisions.planned(*cycle(calm(at=1_010.0), at=1_010.0))
        view = decisions.get_deployment("elser").deployment
        assert view.outcome.kind == "unchanged"
        last = view.last_update
        assert (last.at, last.current, last.desired, last.kind) == (1_000.0, 3, 6, "no_capacity")
        assert last.detail == "could not update"
        assert last.message == "refused for lack of capacity: could not update"

    @pytest.mark.parametrize(
        "kind", [OutcomeKind.UNCHANGED, OutcomeKind.DRY_RUN, OutcomeKind.WITHHELD]
    )
    def test_a_decision_that_was_not_sent_is_no_update(self, decisions, kind):
        decisions.planned(*cycle(outcome(decision(), kind)))
        assert decisions.get_deployment("elser").deployment.last_update is None

    @pytest.mark.parametrize(("gone_for_s", "kept"), [(-1.0, True), (0.0, False)])
    def test_it_is_kept_for_a_while_after_the_deployment_vanished(
        self, decisions, gone_for_s, kept
    ):
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        at = 1_000.0 + FORGET_AFTER_S + gone_for_s
        decisions.planned(*cycle(at=at))
        decisions.planned(*cycle(calm(at=at), at=at))
        assert (decisions.get_deployment("elser").deployment.last_update is not None) == kept

    def test_it_is_kept_while_the_deployment_exists(self, decisions):
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        at = 1_000.0 + 10.0 * FORGET_AFTER_S
        decisions.planned(*cycle(calm(at=at), at=at))
        assert decisions.get_deployment("elser").deployment.last_update is not None

    def test_that_it_had_no_effect_is_learnt_later(self, decisions):
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.ACCEPTED)))
        failed = NoEffect(
            deployment_id="elser",
            requested=Setting(6),
            shown=Setting(3),
            accepted_at=1_000.0,
            at=1_060.0,
            times=1,
            wait_s=60.0,
        )
        observed, plan, outcomes, took = cycle(outcome(steady(), OutcomeKind.UNCHANGED))
        decisions.planned(observed, replace(plan, no_effect=(failed,)), outcomes, took)
        last = decisions.get_deployment("elser").deployment.last_update
        assert (last.kind, last.message) == ("no_effect", "accepted without effect")
        assert (last.current, last.desired) == (3, 6)

    def test_it_is_kept_while_the_daemon_has_stopped_the_deployment(self, decisions):
        decisions.planned(*cycle(outcome(decision(), OutcomeKind.NO_CAPACITY, "no room")))
        _, plan, outcomes, took = cycle(outcome(steady(), OutcomeKind.UNCHANGED), at=9_000.0)
        decisions.planned(observation(at=9_000.0), plan, outcomes, took)
        assert decisions.get_deployment("elser").deployment.last_update.detail == "no room"


class TestVanished:
    def test_it_is_shown_with_what_it_had(self, decisions):
        decisions.planned(*cycle(outcome(steady(), OutcomeKind.UNCHANGED)))
        decisions.planned(*cycle(at=1_310.0))
        (view,) = decisions.list_deployments().deployments
        assert (view.deployment, view.at, view.allocations) == ("elser", 1_310.0, 3)
        assert view.message == "elser vanished 1970-01-01 00:21 UTC, had 3"
        assert decisions.get_deployment("elser").deployment == view

    def test_one_that_returns_is_shown_as_usual(self, decisions):
        decisions.planned(*cycle(outcome(steady(), OutcomeKind.UNCHANGED)))
        decisions.planned(*cycle(at=1_310.0))
        decisions.planned(*cycle(outcome(steady(), OutcomeKind.UNCHANGED), at=1_320.0))
        (view,) = decisions.list_deployments().deployments
        assert view.current == 3

    def test_it_is_forgotten_after_a_day(self, decisions):
        decisions.planned(*cycle(outcome(steady(), OutcomeKind.UNCHANGED)))
        decisions.planned(*cycle(at=1_310.0))
        decisions.planned(*cycle(at=1_310.0 + VANISHED_S))
        assert decisions.list_deployments().deployments == ()

    def test_only_the_latest_ones_are_kept(self, decisions):
        ids = [f"d{index:03}" for index in range(MAX_VANISHED + 5)]
        for index, name in enumerate(ids):
            decisions.planned(
                *cycle(outcome(steady(name), OutcomeKind.UNCHANGED), at=1_000.0 + index)
            )
        decisions.planned(*cycle(at=2_000.0))
        shown = [view.deployment for view in decisions.list_deployments().deployments]
        assert shown == ids[-MAX_VANISHED:]


def test_the_age_and_a_failure_since(decisions, clock):
    decisions.planned(*cycle(calm()))
    clock.pass_by(30.0)
    decisions.skipped(ObservationFailed(FailureKind.TIMEOUT, "no response"), clock.now())
    assert (decisions.list_deployments().age_s, decisions.list_deployments().failure) == (
        30.0,
        "no response",
    )
    decisions.planned(*cycle(calm(at=1_030.0), at=1_030.0))
    assert (decisions.list_deployments().age_s, decisions.list_deployments().failure) == (0.0, "")


def test_there_are_no_decisions_before_the_first_cycle(decisions):
    with pytest.raises(NoObservationYet, match=r"^the cluster has not been observed yet$"):
        decisions.list_deployments()
    with pytest.raises(NoObservationYet):
        decisions.get_deployment("elser")


def test_there_is_no_suggestion_if_no_id_is_similar(decisions):
    decisions.planned(*cycle(calm()))
    with pytest.raises(NoSuchDeployment, match=r"^zzz: not found in the cluster$"):
        decisions.get_deployment("zzz")
