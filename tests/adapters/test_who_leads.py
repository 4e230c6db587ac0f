"""Where an operator sees which instance leads: probes, decisions, explain, metrics, refusals."""

import io

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from autoscaler.adapters.admin_http import (
    AdminServer,
    ClusterPages,
    DecisionRecorder,
    Guard,
    Health,
    Tokens,
)
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.connection import Bearer
from autoscaler.core.decision import OutcomeKind
from autoscaler.explain.render import render
from autoscaler.ports import NotResumed
from autoscaler.wire.decision_views import DeploymentsResponse, LeadershipView
from tests.adapters.recorded import cycle, outcome, steady
from tests.fakes import FakeClock, FakeLeadership

TOKEN = "0123456789abcdef"


@pytest.fixture
def clock():
    return FakeClock(start=1_000.0)


@pytest.fixture
def leadership(clock):
    return FakeLeadership(clock)


def test_the_readiness_names_the_leader(clock, leadership):
    health = Health(clock, poll_interval_s=10.0)
    assert health.role() == "ok"

    health.leadership = leadership
    assert health.role() == "ok: this instance, this, does not lead"
    leadership.follow("other\x1b[31m")
    assert health.role() == "ok: this instance, this, does not lead; other\x1b[31m leads"
    leadership.lead()
    assert health.role() == "ok: this instance, this, leads"


def test_the_readiness_names_the_reason_if_no_instance_can_lead(clock, leadership):
    health = Health(clock, poll_interval_s=10.0)
    health.leadership = leadership
    leadership.failure = "403"
    failing = "; the lease cannot be read or renewed: 403"
    assert health.role() == f"ok: this instance, this, does not lead{failing}"
    leadership.lead()
    assert health.role() == f"ok: this instance, this, leads{failing}"


def test_the_metric(clock, leadership):
    recorder = PrometheusRecorder(clock)

    def value():
        return next(
            sample.value
            for metric in recorder.collect()
            for sample in metric.samples
            if sample.name == "autoscaler_leader"
        )

    assert value() == 1.0
    recorder.leadership = leadership
    assert value() == 0.0
    leadership.lead()
    assert value() == 1.0


def shown(view):
    response = DeploymentsResponse(
        autoscaler="1", at=0.0, age_s=1.0, failure="", deployments=(), leadership=view
    )
    console = Console(file=io.StringIO(), width=200)
    render(response, console)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("leads", "leader", "line"),
    [
        (True, "this", "This instance, this, leads."),
        (False, "other", "This instance, this, does not lead and changes nothing; other leads."),
        (False, "", "This instance, this, does not lead and changes nothing; no leader is known."),
    ],
)
def test_explain_names_the_leader(leads, leader, line):
    assert line in shown(LeadershipView(instance="this", leads=leads, leader=leader))


def test_explain_names_the_reason_if_no_instance_can_lead():
    view = LeadershipView(instance="this", leads=False, leader="", failure="403: no\x1b[31m.")
    line = "; no leader is known; the lease cannot be read or renewed: 403: no\\x1b[31m."
    assert line in shown(view)


def test_explain_says_nothing_where_there_is_one_instance_only():
    assert "instance" not in shown(None)


async def test_a_follower_names_the_leader_and_resumes_nothing(clock, leadership):
    def resume(deployment_id):
        raise NotResumed(f"{deployment_id}: not resumed, because other leads; ask the leader")

    health, decisions = Health(clock, poll_interval_s=10.0), DecisionRecorder(clock, "1.2.3")
    health.leadership = decisions.leadership = leadership
    leadership.follow("other\x1b[31m")
    for recorder in (health, decisions):
        recorder.planned(*cycle(outcome(steady(), OutcomeKind.UNCHANGED)))
    server = AdminServer(
        CollectorRegistry(),
        ClusterPages(health, decisions, resume=resume),
        host="127.0.0.1",
        port=0,
        version="1.2.3",
        guard=Guard(Tokens(Bearer(TOKEN))),
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with server, aiohttp.ClientSession(headers=headers) as session:
        base = f"http://127.0.0.1:{server.port}"
        async with session.get(f"{base}/readyz") as response:
            assert response.status == 200
            assert await response.text() == (
                "ok: this instance, this, does not lead; other\\x1b[31m leads\n"
            )
        async with session.get(f"{base}/decisions") as response:
            found = (await response.json())["leadership"]
            assert (found["instance"], found["leads"], found["failure"]) == ("this", False, "")
        async with session.post(f"{base}/resume/elser") as response:
            assert response.status == 409
            assert "other leads; ask the leader" in (await response.json())["error"]
