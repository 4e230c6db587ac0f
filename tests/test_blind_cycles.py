"""The statistics cannot be read for many cycles: nothing changes, or `blind_allocations` apply."""

import pytest
from msgspec.structs import replace

from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import OutcomeKind, Setting
from autoscaler.core.instructions import Override, Pause, PausedChanges
from autoscaler.core.values import Reason
from autoscaler.ports import FailureKind
from tests.fakes import FakeClock, FakeCluster, FakeLeadership, ListRecorder
from tests.observations import deployment, node, policy, rule
from tests.options import FixedPolicy

POLL_S, BLIND_AFTER_S = 10.0, 300.0
BLIND = {"blind_allocations": 6, "blind_after_s": BLIND_AFTER_S, "max_allocations": 9}


class Setup:
    """A loop whose cluster can be read for three cycles."""

    def __init__(self, allocations=2, recommended=None, **given):
        self.clock = FakeClock(start=1_000.0)
        serving = node("n1", allocations=allocations)
        self.cluster = FakeCluster(self.clock, deployment(serving, deployment_id="e5"))
        self.recorder = ListRecorder()
        policies = FixedPolicy(allocations if recommended is None else recommended)
        self.loop = ControlLoop(
            clock=self.clock,
            observer=self.cluster,
            actuator=self.cluster,
            recorder=self.recorder,
            ruleset=policy(rule(policy=policies, **{**BLIND, **given})),
        )

    async def cycles(self, seconds, kind=None):
        """Run cycles for so long, in which the statistics fail in this way."""
        self.cluster.kind = kind
        until = self.clock.now() + seconds
        while self.clock.now() < until:
            self.clock.pass_by(await self.loop.run_cycle())


async def test_by_default_nothing_is_changed():
    setup = Setup(blind_allocations=None)
    await setup.cycles(30.0)
    await setup.cycles(86_400.0, FailureKind.TIMEOUT)
    assert setup.cluster.requested == []


@pytest.mark.parametrize(
    "kind", [FailureKind.TIMEOUT, FailureKind.MALFORMED, FailureKind.UNREACHABLE]
)
async def test_after_blind_after_the_allocations_are_increased_once(kind):
    setup = Setup()
    await setup.cycles(30.0)
    await setup.cycles(BLIND_AFTER_S - POLL_S, kind)
    assert setup.cluster.requested == []
    await setup.cycles(3_600.0, kind)
    assert setup.cluster.requested == [("e5", 6)]
    (told,) = [failure.outcomes for failure in setup.recorder.failures if failure.outcomes]
    assert [(each.kind, each.decision.reason) for each in told] == [
        (OutcomeKind.ACCEPTED, Reason.BLIND)
    ]
    await setup.cycles(60.0)
    assert not setup.recorder.plans[-1].external_changes  # it was this program
    assert setup.loop.state.deployments["e5"].setting == Setting(
        setup.cluster.deployments["e5"].allocations
    )


async def test_an_update_of_the_last_readable_cycle_counts():
    """The last observation does not show it."""
    setup = Setup(recommended=8, min_allocations=8)
    await setup.cycles(POLL_S)
    assert setup.cluster.requested == [("e5", 8)]
    await setup.cycles(3_600.0, FailureKind.TIMEOUT)
    assert setup.cluster.requested == [("e5", 8)]


async def test_an_update_whose_response_is_lost_is_not_repeated():
    setup = Setup()
    await setup.cycles(30.0)
    setup.cluster.refusals["e5"] = OutcomeKind.UNKNOWN
    await setup.cycles(3_600.0, FailureKind.TIMEOUT)
    assert [kind for kind, _ in setup.cluster.requested] == ["e5"]


async def test_without_any_observation_nothing_is_known():
    setup = Setup()
    await setup.cycles(3_600.0, FailureKind.UNREACHABLE)
    assert setup.cluster.requested == []


async def test_an_instance_that_does_not_lead_changes_nothing():
    setup = Setup()
    await setup.cycles(30.0)
    setup.loop.leadership = FakeLeadership(setup.clock)
    await setup.cycles(3_600.0, FailureKind.TIMEOUT)
    assert setup.cluster.requested == []


async def test_a_dry_run_changes_nothing():
    setup = Setup(dry_run=True)
    await setup.cycles(30.0)
    await setup.cycles(600.0, FailureKind.TIMEOUT)
    assert setup.cluster.requested == []
    assert setup.recorder.failures[-1].outcomes[0].kind is OutcomeKind.DRY_RUN


async def test_readable_statistics_without_figures_are_as_blind():
    setup = Setup()
    await setup.cycles(30.0)
    e5 = setup.cluster.deployments["e5"]
    silent = tuple(replace(each, server_started_at=None) for each in e5.nodes)
    setup.cluster.deployments["e5"] = replace(e5, nodes=silent)
    await setup.cycles(BLIND_AFTER_S - 2 * POLL_S)
    assert setup.cluster.requested == []
    await setup.cycles(600.0)
    assert setup.cluster.requested == [("e5", 6)]


@pytest.mark.parametrize("number", [1, 9])
async def test_what_an_operator_has_set_is_not_changed_and_not_sent_meanwhile(number):
    setup = Setup()
    await setup.cycles(30.0)
    given = Override(allocations=number, since=1_000.0, until=9_000.0, by="alice")
    instructions = setup.loop.state.instructions.with_one("e5", given)
    setup.loop.state = replace(setup.loop.state, instructions=instructions)
    await setup.cycles(3_600.0, FailureKind.TIMEOUT)
    assert setup.cluster.requested == []


async def test_what_is_paused_is_not_increased():
    setup = Setup()
    await setup.cycles(30.0)
    given = Pause(
        changes=PausedChanges.INCREASES, since=1_000.0, until=9_000.0, by="alice", reason="why"
    )
    instructions = setup.loop.state.instructions.with_one(None, given)
    setup.loop.state = replace(setup.loop.state, instructions=instructions)
    await setup.cycles(3_600.0, FailureKind.TIMEOUT)
    assert setup.cluster.requested == []
