"""What a StateStore guarantees, for each implementation."""

import random
from contextlib import asynccontextmanager
from functools import partial

import pytest
import structlog

from autoscaler.adapters.elasticsearch.documents import DocumentApi
from autoscaler.adapters.elasticsearch.state_documents import StateDocuments
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.state import DocumentStateStore, SqliteStore
from autoscaler.connection import Connection
from autoscaler.core.instructions import Instructions, Override, Pause, PausedChanges
from autoscaler.core.state import DeploymentState, State, StoppedDeployment
from autoscaler.ports import StateNotSaved
from autoscaler.simulation.emulator.server import running_emulator
from tests.fakes import FakeClock, FakeStateStore
from tests.observations import deployment, node
from tests.simulation.emulator.conftest import scenario

INDEX = "autoscaler-state"
ELSER = StoppedDeployment(
    stats=deployment(node(), deployment_id="elser"), since=1_000.5, usage=b"\0\xff"
)
E5 = StoppedDeployment(stats=deployment(deployment_id="e5"), since=2_000.0)


class Sqlite:
    @classmethod
    @asynccontextmanager
    async def opened(cls, path, *, in_thread):
        found = cls()
        found.directory = path / "state"
        found.in_thread = in_thread
        found.store = found.another()
        yield found

    def another(self):
        log = structlog.wrap_logger(structlog.ReturnLogger())
        return SqliteStore(
            self.directory,
            FakeClock(1_000.0),
            log,
            outlives=lambda _directory: True,
            in_thread=self.in_thread,
        )

    def fail(self):
        self.directory.rename(self.directory.with_name("away"))
        self.directory.write_text("in its place")


class Documents:
    """In an index of an emulated cluster."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, path):
        found, found.count = cls(), 0
        async with running_emulator(scenario(), clock=FakeClock(1_000.0)) as found.emulator:
            connection = Connection(hosts=(found.emulator.url,), retries=0)
            clock = FakeClock(1_000.0)
            async with Transport(connection, clock, random.Random(1)) as found.transport:
                found.store = found.another()
                yield found

    def another(self):
        self.count += 1
        writer, clock = f"instance-{self.count}", FakeClock(1_000.0)
        api = DocumentApi(self.transport, INDEX, leader_only=True)
        documents = StateDocuments(api, INDEX, clock, writer=writer)
        log = structlog.wrap_logger(structlog.ReturnLogger())
        return DocumentStateStore(documents, clock, log, writer=writer)

    def fail(self):
        self.emulator.emulation.writes_blocked = True


class Fake:
    @classmethod
    @asynccontextmanager
    async def opened(cls, path):
        found = cls()
        found.store = FakeStateStore()
        yield found

    def another(self):
        return self.store

    def fail(self):
        self.store.full = True


@pytest.fixture(
    params=[
        partial(Sqlite.opened, in_thread=True),
        partial(Sqlite.opened, in_thread=False),
        Documents.opened,
        Fake.opened,
    ],
    ids=["sqlite", "sqlite without a thread", "documents", "fake"],
)
async def world(request, tmp_path):
    async with request.param(tmp_path) as world:
        await world.store.open(())
        yield world
        await world.store.close()


async def restarted(world):
    """The state that the next process finds."""
    await world.store.close()
    world.store = world.another()
    return await world.store.open(())


def state_of(*names, at=990.0):
    return State(
        deployments={
            name: DeploymentState(
                seen_at=at, baseline=deployment(deployment_id=name), baseline_at=at
            )
            for name in names
        },
        seen_at=at,
    )


async def test_nothing_is_stored_at_first_and_that_is_known(world):
    assert await restarted(world) == State(is_first_start=True)


async def test_once_a_state_is_saved_no_start_is_the_first(world):
    world.store.checkpoint(state_of("elser"))
    assert not (await restarted(world)).is_first_start


@pytest.mark.parametrize("stopped", [{}, {"elser": ELSER}, {"elser": ELSER, "e5": E5}], ids=len)
async def test_the_saved_deployments_are_the_given_ones(world, stopped):
    await world.store.save_stopped(stopped)
    assert (await restarted(world)).stopped == stopped


async def test_each_save_replaces_everything(world):
    await world.store.save_stopped({"elser": ELSER})
    await world.store.save_stopped({"e5": E5})
    assert (await restarted(world)).stopped == {"e5": E5}
    await world.store.save_stopped({})
    assert (await restarted(world)).stopped == {}


PAUSE = Pause(
    changes=PausedChanges.DECREASES, since=900.0, until=2_000.0, by="alice", reason="\x1b[2J"
)
OVERRIDE = Override(allocations=4, since=900.0, until=2_000.0, by="bob")
INSTRUCTIONS = Instructions(pause=PAUSE, pauses={"e5/\n": PAUSE}, overrides={"elser": OVERRIDE})


@pytest.mark.parametrize("seen_at", [990.0, -9e6], ids=["recent", "too old"])
async def test_the_instructions_are_found_with_a_state_of_any_age(world, seen_at):
    world.store.checkpoint(state_of("elser", at=seen_at))
    await world.store.save_instructions(INSTRUCTIONS)
    assert (await restarted(world)).instructions == INSTRUCTIONS
    await world.store.save_instructions(Instructions())
    assert (await restarted(world)).instructions == Instructions()


async def test_instructions_that_cannot_be_saved_are_reported(world):
    world.fail()
    with pytest.raises(StateNotSaved):
        await world.store.save_instructions(INSTRUCTIONS)


async def test_a_failure_to_save_is_reported(world):
    await world.store.save_stopped({"elser": ELSER})
    world.fail()
    with pytest.raises(StateNotSaved) as caught:
        await world.store.save_stopped({"e5": E5})
    assert str(caught.value)


async def test_the_last_checkpoint_is_what_the_next_process_finds(world):
    world.store.checkpoint(state_of("a", "b", at=980.0))
    world.store.checkpoint(state_of("b", "c"))
    assert await restarted(world) == state_of("b", "c")


async def test_what_is_saved_before_updates_replaces_those_deployments_alone(world):
    world.store.checkpoint(state_of("a", "b", at=980.0))
    before = await restarted(world)
    await world.store.save_before_updates(state_of("b"), ["b"])
    found = await restarted(world)
    assert found.deployments["a"] == before.deployments["a"]
    assert found.deployments["b"] == state_of("b").deployments["b"]
    assert found.seen_at == 990.0


async def test_a_checkpoint_does_not_replace_the_stopped_deployments(world):
    await world.store.save_stopped({"e5": E5})
    world.store.checkpoint(state_of("a"))
    assert (await restarted(world)).stopped == {"e5": E5}


async def test_a_failure_of_a_checkpoint_does_not_end_the_process(world):
    world.fail()
    world.store.checkpoint(state_of("a"))
    await world.store.save_before_updates(state_of("a"), ["a"])


async def test_it_is_open_until_it_is_closed(world):
    assert world.store.is_open
    await world.store.close()
    assert not world.store.is_open
    await restarted(world)
    assert world.store.is_open


async def test_a_state_belongs_to_the_cluster_that_it_was_bound_to(world):
    for _ in range(2):
        assert await world.store.bind("one") == ""
        world.store.checkpoint(state_of("a"))
        assert (await restarted(world)).deployments.keys() == {"a"}


async def test_the_state_of_another_cluster_is_reported_and_replaced(world):
    assert await world.store.bind("one") == ""
    await world.store.save_stopped({"elser": ELSER})
    world.store.checkpoint(state_of("a"))
    await restarted(world)
    assert "another cluster, one" in await world.store.bind("two")
    assert await world.store.bind("two") == ""
    await world.store.save_stopped({})
    world.store.checkpoint(state_of("b"))
    found = await restarted(world)
    assert (found.deployments.keys(), found.stopped) == ({"b"}, {})
    assert await world.store.bind("two") == ""


async def test_a_problem_is_known_until_the_next_success(world):
    assert world.store.problem == ""
    world.fail()
    await world.store.save_before_updates(state_of("a"), ["a"])
    assert world.store.problem


async def test_a_second_writer_of_the_documents_is_named_with_the_remedy(tmp_path):
    async with Documents.opened(tmp_path) as world:
        await world.store.open(())
        await world.store.save_before_updates(state_of("a"), ["a"])
        other = world.another()
        await other.open(())
        await other.save_before_updates(state_of("a", at=992.0), ["a"])
        await world.store.save_before_updates(state_of("a", at=995.0), ["a"])
        assert "instance-2 has written deployment:a, too, so that" in world.store.problem
        assert world.store.problem.endswith(
            "; if both run without a lease, stop one of them, or set leadership.lease for both"
        )
        await other.close()
