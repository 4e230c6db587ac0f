"""What a StateStore guarantees, for each implementation."""

from functools import partial

import pytest
import structlog

from autoscaler.adapters.state import SqliteStore
from autoscaler.core.state import DeploymentState, State, StoppedDeployment
from autoscaler.ports import StateNotSaved
from tests.fakes import FakeClock, FakeStateStore
from tests.observations import deployment, node

ELSER = StoppedDeployment(
    stats=deployment(node(), deployment_id="elser"), since=1_000.5, usage=b"\0\xff"
)
E5 = StoppedDeployment(stats=deployment(deployment_id="e5"), since=2_000.0)


class Sqlite:
    def __init__(self, path, *, in_thread):
        self.directory = path / "state"
        self.in_thread = in_thread
        self.store = self.another()

    def another(self):
        log = structlog.wrap_logger(structlog.ReturnLogger())
        return SqliteStore(self.directory, FakeClock(1_000.0), log, in_thread=self.in_thread)

    def fail(self):
        self.directory.rename(self.directory.with_name("away"))


class Fake:
    def __init__(self, path):
        self.store = FakeStateStore()

    def another(self):
        return self.store

    def fail(self):
        self.store.full = True


@pytest.fixture(params=[partial(Sqlite, in_thread=True), partial(Sqlite, in_thread=False), Fake])
async def world(request, tmp_path):
    world = request.param(tmp_path)
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


async def test_nothing_is_stored_at_first(world):
    assert await restarted(world) == State()


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
