"""When the saved state is taken, continued and given up, and whose it is."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import structlog
from msgspec.structs import replace

from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Start
from autoscaler.core.rollout_hours import RolloutHours
from autoscaler.core.rollout_status import RolloutVerdict
from autoscaler.core.shadow import HOUR_S, ShadowAccount, ShadowTotals, together
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import DeploymentState, Shadow, State, StoppedDeployment
from autoscaler.ports import FailureKind, ObservationFailed, StateInUse, StateUnavailable
from autoscaler.state_loop import MAX_READ_S, PATIENCE_S, RETRY_S, StateLoop
from tests.fakes import FakeCluster, FakeLeadership, FakeStateStore, ListRecorder
from tests.observations import deployment, node, policy, rule
from tests.virtual_loop import START, LoopClock, run_in_virtual_time

STOPPED = {"idle": StoppedDeployment(stats=deployment(deployment_id="idle"), since=5.0)}


class Clock(LoopClock):
    def pass_by(self, seconds):
        """Requests take no time."""


class Store(FakeStateStore):
    """A store that another process has, or that cannot be read, for a while."""

    def __init__(self):
        super().__init__()
        self.error = None
        self.open_s = 0.0
        self.attempts = 0

    async def open(self, policies):
        self.attempts += 1
        if self.error is not None:
            raise self.error
        found = await super().open(policies)
        await asyncio.sleep(self.open_s)
        return found

    def checkpoint(self, state):
        if self.is_open:
            super().checkpoint(state)


class World:
    """A control loop that keeps its state, with its store and its lease."""

    def __init__(self, *, has_lease):
        self.clock, self.store = Clock(), Store()
        self.log = structlog.testing.CapturingLogger()
        self.leadership = FakeLeadership(self.clock) if has_lease else None
        self.cluster = FakeCluster(self.clock, deployment(node(), deployment_id="a"))
        self.uuid = "one"
        self.state = StateLoop(
            self.store,
            self.cluster,
            self.clock,
            structlog.wrap_logger(self.log, processors=[]),
            cluster_uuid=self._uuid,
            leadership=self.leadership,
            policies=list,
        )
        self.recorder = ListRecorder()
        self.loop = self.state.loop = ControlLoop(
            clock=self.clock,
            observer=self.state,
            actuator=self.cluster,
            recorder=self.recorder,
            ruleset=policy(rule(max_allocations=8)),
            state_store=self.store,
            state=State(cold_start_s=0.0),
            leadership=self.state if has_lease else None,
        )

    async def _uuid(self):
        if isinstance(self.uuid, Exception):
            raise self.uuid
        return self.uuid

    def saved(self, at, **changes):
        known = DeploymentState(
            seen_at=at, baseline=deployment(node(), deployment_id="a"), baseline_at=at
        )
        self.store.state = State(deployments={"a": known}, seen_at=at, **changes)

    def lead(self):
        self.leadership.lead()
        self.state.lead()

    def follow(self):
        self.leadership.follow()
        self.state.follow()

    def messages(self, event):
        return [call.kwargs["message"] for call in self.log.calls if call.kwargs["event"] == event]

    @property
    def started(self):
        return {name for name, change in self.cluster.changes if isinstance(change, Start)}

    @property
    def may_act(self):
        """Whether a cycle that begins now may send something."""
        return not self.loop.why_not_leading(self.clock.now())


@asynccontextmanager
async def running(*, has_lease=True, prepare=lambda world: None):
    world = World(has_lease=has_lease)
    prepare(world)
    await world.state.begin()
    tasks = [asyncio.ensure_future(each) for each in (world.state.run(), world.loop.run())]
    try:
        yield world
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def played(play, **options):
    async def main():
        async with running(**options) as world:
            await play(world)

    run_in_virtual_time(main(), sockets=False)


def test_a_follower_leaves_the_store_alone():
    async def play(world):
        await asyncio.sleep(100.0)
        assert (world.store.attempts, world.store.is_open, world.state.saved) == (0, False, None)

    played(play)


@pytest.mark.parametrize(
    ("followed_s", "age_s", "is_taken"),
    [
        (10.0, 5.0, True),
        (10.0, 3_600.0, True),  # this process knows less than that
        (1_000.0, 30.0, True),
        (1_000.0, 700.0, False),  # it has observed for longer since
        (5_000.0, 4_000.0, False),
    ],
)
def test_a_new_leader_continues_with_a_state_that_knows_more(followed_s, age_s, is_taken):
    async def play(world):
        await asyncio.sleep(followed_s)
        world.saved(world.clock.now() - age_s)
        world.store.saved.append(STOPPED)
        world.lead()
        await asyncio.sleep(1.0)
        assert (world.loop.state.cold_start_s is None) is (is_taken or followed_s > 600.0)
        assert world.loop.state.stopped == STOPPED
        assert world.recorder.plans[-1].at == START + followed_s  # at once
        assert world.may_act
        assert world.state.saved is True

    played(play)


def test_nothing_is_sent_before_the_state_is_known():
    async def play(world):
        world.store.error = StateUnavailable("no shard")
        world.saved(START)
        world.lead()
        await asyncio.sleep(PATIENCE_S - 3.0)
        assert not world.may_act
        world.store.error = None
        await asyncio.sleep(3.0)
        assert world.may_act
        assert world.loop.state.cold_start_s is None
        assert not world.messages("state.unusable")

    played(play)


def test_a_state_that_cannot_be_read_for_long_gives_its_stopped_deployments_later():
    async def play(world):
        world.store.error = StateUnavailable("no shard")
        world.saved(START)
        world.store.saved.append(STOPPED)
        world.lead()
        await asyncio.sleep(60.0)
        assert world.may_act
        assert world.state.saved is False
        assert len(world.messages("state.unusable")) == 1
        world.store.error = None
        await asyncio.sleep(2.0 * RETRY_S)
        assert world.started == {"idle"}  # no rule stops it any more
        assert world.loop.state.cold_start_s is not None  # it has decided by itself meanwhile
        assert world.state.saved is True

    played(play)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_rollout_that_waited_for_the_state_begins_if_there_has_never_been_one(is_first):
    async def play(world):
        hours = RolloutHours(hours=(9,), timezone="UTC", share=0.5, settings="one")
        world.loop.ruleset = policy(rule(policy=SloPolicy(), rollout=hours))
        world.store.error = StateUnavailable("no shard")
        world.lead()
        await asyncio.sleep(60.0)
        assert world.loop.state.rollouts["a"].verdict is RolloutVerdict.WAITING
        world.store.error, world.store.state = None, State(is_first_start=is_first)
        await asyncio.sleep(2.0 * RETRY_S)
        verdict = RolloutVerdict.RUNNING if is_first else RolloutVerdict.WAITING
        assert world.loop.state.rollouts["a"].verdict is verdict

    played(play)


@pytest.mark.parametrize(("full_s", "waits"), [(0.0, False), (300.0, False), (700.0, True)])
def test_a_rollout_waits_while_the_state_of_the_first_start_cannot_be_saved(full_s, waits):
    """The next start would be the first one again, and what the rule had set would be taken for
    what ran before. What did run before is not forgotten meanwhile."""

    async def play(world):
        hours = RolloutHours(hours=(9,), timezone="UTC", share=0.5, settings="one")
        world.loop.ruleset = policy(rule(policy=SloPolicy(), rollout=hours))
        world.store.full = full_s > 0.0
        await asyncio.sleep(60.0)
        begun = world.loop.state.rollouts["a"]
        assert (begun.verdict is RolloutVerdict.WAITING) is (full_s > 0.0)
        await asyncio.sleep(full_s)
        world.store.full = False
        await asyncio.sleep(60.0)
        now = world.loop.state.rollouts["a"]
        assert (now.verdict is RolloutVerdict.WAITING) is waits
        assert now.before == begun.before
        assert now.before is not None

    played(play, has_lease=False)


@pytest.mark.parametrize(("own_hours", "kept_hours"), [(1.0, 30.0), (31.0, 31.0)])
def test_of_two_totals_of_a_dry_run_those_of_the_longer_time_are_kept(own_hours, kept_hours):
    """An instance that has observed before it leads has some of its own, perhaps of a minute."""

    def shadow(hours):
        totals = ShadowTotals(known_s=hours * HOUR_S)
        return Shadow(seen_at=START, account=ShadowAccount().after(START, totals))

    async def play(world):
        world.loop.ruleset = policy(rule(dry_run=True))
        await asyncio.sleep(60.0)
        state = world.loop.state
        own = replace(state.deployments["a"], shadow=shadow(own_hours))
        world.loop.state = replace(state, deployments={"a": own})
        stored = replace(own, shadow=shadow(30.0))
        world.store.state = State(deployments={"a": stored})  # the rest was too old
        world.lead()
        await asyncio.sleep(60.0)
        assert world.state.has_continued
        account = world.loop.state.deployments["a"].shadow.account
        known_s = together(account.days).totals.known_s
        assert kept_hours * HOUR_S <= known_s <= kept_hours * HOUR_S + 120.0

    played(play)


def test_a_leader_acts_while_a_disk_does_not_respond():
    """In each term. What is stopped is known as soon as it responds."""

    async def play(world):
        world.store.open_s = 200.0
        world.saved(START)
        world.store.saved.append(STOPPED)
        world.lead()
        await asyncio.sleep(MAX_READ_S - 3.0)
        assert not world.may_act
        await asyncio.sleep(6.0)
        assert world.may_act
        assert len(world.messages("state.unusable")) == 1
        world.follow()
        await asyncio.sleep(10.0)
        world.lead()
        await asyncio.sleep(MAX_READ_S - 3.0)
        assert not world.may_act
        await asyncio.sleep(6.0)
        assert world.may_act
        world.store.open_s = 0.0
        await asyncio.sleep(50.0)
        assert world.started == set()
        await asyncio.sleep(50.0)
        assert world.started == {"idle"}  # no rule stops it any more

    played(play)


def test_a_leader_takes_over_from_a_suspended_process_and_its_directory_when_that_is_woken():
    async def play(world):
        await asyncio.sleep(50.0)
        world.store.error = StateInUse("process 7 uses the state")
        world.lead()
        await asyncio.sleep(1.0)
        assert world.may_act  # at once
        (message,) = world.messages("state.unusable")
        assert message.startswith("process 7 uses the state; until then, nothing is saved")
        await asyncio.sleep(60.0)
        assert len(world.messages("state.unusable")) == 1
        world.store.error = None
        await asyncio.sleep(2.0 * RETRY_S)
        assert world.state.saved is True

    played(play)


def test_who_does_not_lead_any_more_gives_the_store_up():
    async def play(world):
        world.lead()
        await asyncio.sleep(30.0)
        assert world.store.is_open
        world.follow()
        await asyncio.sleep(0.1)
        assert not world.store.is_open

    played(play)


def test_a_store_that_was_lost_is_opened_again_and_gets_what_was_stopped_since():
    async def play(world):
        world.lead()
        await asyncio.sleep(30.0)
        await world.store.save_stopped(STOPPED)
        world.loop.state = replace(world.loop.state, stopped=STOPPED)
        world.store.is_open = False
        world.store.saved.clear()
        await asyncio.sleep(2.0 * RETRY_S)
        assert world.store.is_open
        assert STOPPED in world.store.saved
        assert world.started == {"idle"}  # no rule stops it any more

    played(play)


def test_the_only_instance_ends_if_another_process_has_the_state():
    def prepare(world):
        world.store.error = StateInUse("process 7 uses the state")

    with pytest.raises(StateInUse):
        played(None, has_lease=False, prepare=prepare)


def test_the_only_instance_waits_for_its_state_as_long_as_it_has_observed_nothing():
    def prepare(world):
        world.store.error = StateUnavailable("no shard")
        world.cluster.kind = FailureKind.UNAVAILABLE
        world.saved(START)

    async def play(world):
        await asyncio.sleep(60.0)
        assert world.cluster.observed < 5
        world.cluster.kind = world.store.error = None
        await asyncio.sleep(120.0)
        assert world.loop.state.cold_start_s is None

    played(play, has_lease=False, prepare=prepare)


@pytest.mark.parametrize("stored_for", ["one", ""])
def test_the_state_of_this_cluster_is_continued(stored_for):
    def prepare(world):
        world.saved(START)
        world.store.cluster_uuid = stored_for

    async def play(world):
        await asyncio.sleep(30.0)
        assert world.loop.state.cold_start_s is None
        assert world.store.cluster_uuid == "one"
        assert not world.messages("state.other_cluster")

    played(play, has_lease=False, prepare=prepare)


def test_nothing_of_the_state_of_another_cluster_is_used_and_its_stopped_deployments_are_named():
    def prepare(world):
        world.saved(START)
        world.store.saved.append(STOPPED)
        world.store.cluster_uuid = "another"

    async def play(world):
        await asyncio.sleep(30.0)
        assert world.loop.state.cold_start_s is not None
        assert world.loop.state.stopped == {} == world.store.saved[-1]
        assert world.started == set()
        (message,) = world.messages("state.other_cluster")
        assert message.endswith("stopped there: idle; everything is learned again")

    played(play, has_lease=False, prepare=prepare)


def test_nothing_is_decided_while_the_cluster_of_a_state_is_not_known():
    def prepare(world):
        world.saved(START)
        world.uuid = ObservationFailed(FailureKind.UNAVAILABLE, "no master")

    async def play(world):
        await asyncio.sleep(60.0)
        assert world.recorder.plans == []
        world.uuid = ""  # it may not be read
        await asyncio.sleep(60.0)
        assert world.recorder.plans
        assert world.loop.state.cold_start_s is None

    played(play, has_lease=False, prepare=prepare)


def test_another_cluster_at_the_same_address_begins_without_a_state():
    async def play(world):
        await asyncio.sleep(900.0)
        assert world.loop.state.cold_start_s is None
        world.uuid = "two"
        await asyncio.sleep(20.0)
        assert world.loop.state.cold_start_s is not None
        assert len(world.messages("state.other_cluster")) == 1

    played(play, has_lease=False)


def test_a_second_term_begins_with_the_state_too():
    """Also if the lease is known to be held before the beginning of the term is reported."""

    async def play(world):
        world.lead()
        await asyncio.sleep(1.0)
        assert world.may_act
        world.follow()
        await asyncio.sleep(100.0)
        world.leadership.lead()
        assert not world.may_act
        world.state.lead()
        await asyncio.sleep(1.0)
        assert world.may_act

    played(play)


def test_a_state_that_was_read_in_an_earlier_term_is_read_again():
    """Another instance may have led, and stopped something, since."""

    async def play(world):
        await asyncio.sleep(50.0)
        world.store.open_s = 17.0
        world.lead()
        await asyncio.sleep(5.0)
        world.follow()
        world.store.saved.append(STOPPED)
        await asyncio.sleep(5.0)
        world.lead()
        await asyncio.sleep(15.0)
        assert not world.may_act
        await asyncio.sleep(20.0)
        assert world.may_act
        assert world.started == {"idle"}  # no rule stops it any more

    played(play)


def test_it_is_known_whether_the_control_loop_has_the_state_yet():
    """Until then, nothing is known of deployments that are stopped."""

    async def play(world):
        await asyncio.sleep(50.0)
        world.store.open_s = 5.0
        world.lead()
        await asyncio.sleep(3.0)
        assert world.state.is_reading
        assert "is still reading the saved state" in world.loop.why_not_leading(world.clock.now())
        await asyncio.sleep(3.0)
        assert not world.state.is_reading

    played(play)


@pytest.mark.parametrize("age_s", [5.0, 900.0])
def test_what_was_stopped_in_an_earlier_term_is_known_from_the_store_alone(age_s):
    """Since then, another leader may have started it, and an operator may have stopped it again."""

    async def play(world):
        world.lead()
        await asyncio.sleep(30.0)
        world.follow()
        await asyncio.sleep(0.1)
        requested = frozenset({"idle"})
        world.loop.state = replace(world.loop.state, stopped=STOPPED, resume_requested=requested)
        await asyncio.sleep(1_000.0)
        world.saved(world.clock.now() - age_s)
        world.lead()
        await asyncio.sleep(30.0)
        assert world.may_act
        assert world.loop.state.stopped == {}
        assert world.loop.state.resume_requested == frozenset()
        assert world.started == set()

    played(play)
