"""What a Bedside promises, whoever keeps it."""

import pytest

from autoscaler.adapters.state_file import StateFile
from autoscaler.core.state import StoppedDeployment
from autoscaler.ports import StateNotSaved
from tests.fakes import FakeBedside
from tests.observations import deployment, node

ELSER = StoppedDeployment(
    stats=deployment(node(), deployment_id="elser"), since=1_000.5, usage=b"\0\xff"
)
E5 = StoppedDeployment(stats=deployment(deployment_id="e5"), since=2_000.0)


class File:
    def __init__(self, path):
        self.directory = path / "state"
        self.directory.mkdir()
        self.ports = StateFile(self.directory / "asleep.json")

    def kept(self):
        return self.ports.load()

    def refuse(self):
        self.directory.rename(self.directory.with_name("away"))


class Fake:
    def __init__(self, path):
        self.ports = FakeBedside()

    def kept(self):
        return self.ports.kept[-1] if self.ports.kept else {}

    def refuse(self):
        self.ports.full = True


@pytest.fixture(params=[File, Fake])
def bedside(request, tmp_path):
    return request.param(tmp_path)


def test_nobody_sleeps_at_first(bedside):
    assert bedside.kept() == {}


@pytest.mark.parametrize("asleep", [{}, {"elser": ELSER}, {"elser": ELSER, "e5": E5}], ids=len)
def test_what_is_kept_is_what_was_given(bedside, asleep):
    bedside.ports.save(asleep)
    assert bedside.kept() == asleep


def test_the_latest_counts_and_as_a_whole(bedside):
    bedside.ports.save({"elser": ELSER})
    bedside.ports.save({"e5": E5})
    assert bedside.kept() == {"e5": E5}
    bedside.ports.save({})
    assert bedside.kept() == {}


def test_what_cannot_be_kept_is_told(bedside):
    bedside.ports.save({"elser": ELSER})
    bedside.refuse()
    with pytest.raises(StateNotSaved) as caught:
        bedside.ports.save({"e5": E5})
    assert str(caught.value)
