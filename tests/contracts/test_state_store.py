"""What a StateStore guarantees, for each implementation."""

import pytest

from autoscaler.adapters.state_file import StateFile
from autoscaler.core.state import StoppedDeployment
from autoscaler.ports import StateNotSaved
from tests.fakes import FakeStateStore
from tests.observations import deployment, node

ELSER = StoppedDeployment(
    stats=deployment(node(), deployment_id="elser"), since=1_000.5, usage=b"\0\xff"
)
E5 = StoppedDeployment(stats=deployment(deployment_id="e5"), since=2_000.0)


class File:
    def __init__(self, path):
        self.directory = path / "state"
        self.directory.mkdir()
        self.store = StateFile(self.directory / "stopped")

    def saved(self):
        return self.store.load()

    def fail(self):
        self.directory.rename(self.directory.with_name("away"))


class Fake:
    def __init__(self, path):
        self.store = FakeStateStore()

    def saved(self):
        return self.store.saved[-1] if self.store.saved else {}

    def fail(self):
        self.store.full = True


@pytest.fixture(params=[File, Fake])
def state(request, tmp_path):
    return request.param(tmp_path)


def test_no_deployment_is_stopped_at_first(state):
    assert state.saved() == {}


@pytest.mark.parametrize("stopped", [{}, {"elser": ELSER}, {"elser": ELSER, "e5": E5}], ids=len)
def test_the_saved_deployments_are_the_given_ones(state, stopped):
    state.store.save(stopped)
    assert state.saved() == stopped


def test_each_save_replaces_everything(state):
    state.store.save({"elser": ELSER})
    state.store.save({"e5": E5})
    assert state.saved() == {"e5": E5}
    state.store.save({})
    assert state.saved() == {}


def test_a_failure_to_save_is_reported(state):
    state.store.save({"elser": ELSER})
    state.fail()
    with pytest.raises(StateNotSaved) as caught:
        state.store.save({"e5": E5})
    assert str(caught.value)
