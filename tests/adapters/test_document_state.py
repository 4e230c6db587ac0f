"""The state in documents that several instances can reach, on bad days."""

import asyncio
import gc

import pytest
import structlog

from autoscaler.adapters.state import DocumentStateStore, described_documents
from autoscaler.adapters.state.document_state import BATCH, MAX_BYTES_PER_S
from autoscaler.core.state import DeploymentState, State, StoppedDeployment
from autoscaler.ports import (
    DocumentsUnavailable,
    DocumentsWritten,
    SavedDocument,
    StateNotSaved,
    StateUnavailable,
)
from tests.fakes import FakeClock
from tests.observations import deployment
from tests.virtual_loop import LoopClock, run_in_virtual_time

STOPPED = {"elser": StoppedDeployment(stats=deployment(deployment_id="elser"), since=5.0)}


class Documents:
    """A DocumentStore in memory, of all instances."""

    place = "the cupboard"

    def __init__(self):
        self.saved, self.version, self.failure, self.hang = {}, 0, "", False
        self.before_write = lambda: None
        self.requests = []

    def of(self, writer):
        return View(self, writer)

    def put(self, name, content, writer, problem=""):
        self.version += 1
        self.saved[name] = SavedDocument(
            version=str(self.version), content=content, writer=writer, problem=problem
        )


class View:
    """What one instance sees of it."""

    def __init__(self, documents, writer):
        self._documents, self._writer = documents, writer
        self.place = documents.place

    async def read(self, names):
        self._check()
        return {
            name: self._documents.saved[name] for name in names if name in self._documents.saved
        }

    async def write(self, writes):
        documents = self._documents
        documents.requests.append([each.name for each in writes])
        documents.before_write()
        await LoopClock().sleep(3600.0 if documents.hang else 0.0)
        self._check()
        versions, changed = {}, []
        for name, content, replaces in writes:
            found = documents.saved.get(name)
            if (None if found is None else found.version) != replaces:
                changed.append(name)
            elif content is None:
                del documents.saved[name]
                versions[name] = "deleted"
            else:
                documents.put(name, content, self._writer)
                versions[name] = documents.saved[name].version
        return DocumentsWritten(versions, tuple(changed))

    def _check(self):
        if self._documents.failure:
            raise DocumentsUnavailable(self._documents.failure)


class Store:
    def __init__(self, documents, writer, clock=None):
        self.log = structlog.testing.CapturingLogger()
        logger = structlog.wrap_logger(self.log, processors=[])
        clock = clock or FakeClock(1_000.0)
        self.port = DocumentStateStore(documents.of(writer), clock, logger, writer=writer)

    def messages(self, event):
        return [call.kwargs["message"] for call in self.log.calls if call.kwargs["event"] == event]


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


async def settled():
    for _ in range(50):
        await asyncio.sleep(0)


async def opened(documents, writer, **options):
    store = Store(documents, writer, **options)
    return store, await store.port.open(())


async def test_an_instance_that_finds_the_work_of_another_gives_the_store_up():
    documents = Documents()
    one, _ = await opened(documents, "one")
    one.port.checkpoint(state_of("a"))
    await settled()
    two, found = await opened(documents, "two")
    assert found.deployments.keys() == {"a"}
    two.port.checkpoint(state_of("a", at=995.0))
    await settled()
    before = dict(documents.saved)

    one.port.checkpoint(state_of("a", at=994.0))
    await settled()
    assert documents.saved == before
    assert not one.port.is_open
    (message,) = one.messages("state.not_saved")
    assert "two has written deployment:a, too" in message
    with pytest.raises(StateNotSaved):
        await one.port.save_stopped(STOPPED)
    assert documents.saved == before

    assert (await one.port.open(())).seen_at == 995.0
    one.port.checkpoint(state_of("a", at=996.0))
    await settled()
    assert documents.saved["shared"].writer == "one"


async def test_stopped_deployments_that_another_has_recorded_are_not_overwritten():
    documents = Documents()
    one, _ = await opened(documents, "one")
    two, _ = await opened(documents, "two")
    await two.port.save_stopped(STOPPED)
    with pytest.raises(StateNotSaved, match="two has written stopped, too"):
        await one.port.save_stopped({})
    assert (await one.port.open(())).stopped == STOPPED


def test_a_store_that_hangs_delays_updates_by_five_seconds_and_withholds_stops():
    async def play():
        documents, loop = Documents(), asyncio.get_running_loop()
        one, _ = await opened(documents, "one", clock=LoopClock())
        documents.hang = True
        began = loop.time()
        await one.port.save_before_updates(state_of("a"), ["a"])
        with pytest.raises(StateNotSaved, match="no response within 5 s"):
            await one.port.save_stopped(STOPPED)
        assert loop.time() - began == pytest.approx(10.0)
        documents.hang = False
        documents.put("stopped", b"what was sent", "one")  # it was applied all the same
        await one.port.save_stopped(STOPPED)
        assert one.port.is_open
        assert (await Store(documents, "two").port.open(())).stopped == STOPPED

    run_in_virtual_time(play(), sockets=False)


async def test_a_checkpoint_of_before_an_update_does_not_undo_its_record():
    documents = Documents()
    one, _ = await opened(documents, "one")
    names = [f"d{number:03}" for number in range(3 * BATCH)]

    def save_meanwhile():
        documents.before_write = lambda: None
        newer = state_of(*names, at=999.0)
        saves.append(asyncio.ensure_future(one.port.save_before_updates(newer, names[-1:])))

    saves = []
    documents.before_write = save_meanwhile
    one.port.checkpoint(state_of(*names))
    await settled()
    await saves[0]
    _, found = await opened(documents, "two")
    assert found.deployments[names[-1]].seen_at == 999.0
    assert found.seen_at == 999.0


async def test_many_deployments_take_several_requests_of_bounded_size():
    documents = Documents()
    one, _ = await opened(documents, "one")
    names = [f"d{number:03}" for number in range(3 * BATCH + 1)]
    one.port.checkpoint(state_of(*names))
    await settled()
    assert [len(each) for each in documents.requests] == [BATCH, BATCH, BATCH, 1, 3]
    _, found = await opened(documents, "two")
    assert list(found.deployments) == names
    one.port.checkpoint(state_of(*names[:5]))
    await one.port.close()
    assert len(documents.saved) == 5 + 3


def test_checkpoints_are_limited_to_bytes_per_second():
    async def play():
        documents, loop = Documents(), asyncio.get_running_loop()
        clock = LoopClock()
        one, _ = await opened(documents, "one", clock=clock)
        names = [f"d{number:03}" for number in range(500)]
        for second in range(1, 101):
            one.port.checkpoint(state_of(*names, at=float(second)))
            await clock.sleep(1.0)
        content = sum(len(each.content) for each in documents.saved.values())
        checkpoints = [each for each in documents.requests if "shared" in each]
        assert len(checkpoints) == pytest.approx(100.0 * MAX_BYTES_PER_S / content, abs=1.5)
        assert loop.time() == pytest.approx(100.0)
        await one.port.close()
        _, found = await opened(documents, "two", clock=clock)
        assert found.seen_at is None  # far from the clock of the store, but complete
        assert len(documents.saved) == 503

    run_in_virtual_time(play(), sockets=False)


async def test_a_deployment_whose_document_belongs_to_another_program_is_left_out():
    documents = Documents()
    one, _ = await opened(documents, "one")
    one.port.checkpoint(state_of("a", "b"))
    await one.port.close()
    documents.put("deployment:a", b"", "", problem="deployment:a is of another program")
    foreign = documents.saved["deployment:a"]
    two, found = await opened(documents, "two")
    assert found.deployments.keys() == {"b"}
    (message,) = two.messages("state.not_restored")
    assert message.startswith("the cupboard: deployment:a is of another program; ")
    assert two.port.problem == ""  # the others are saved
    two.port.checkpoint(state_of("a", "b", at=995.0))
    await two.port.close()
    assert documents.saved["deployment:a"] == foreign
    assert two.messages("state.saved") == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("stopped", b"\x81", "the record of stopped deployments is damaged"),
        ("deployments", b"\xc1", "the list of deployments is damaged"),
        ("deployments", b"\x91\xa1\xff", "the list of deployments is damaged"),
        ("deployments", b"\x91" * 9_999, "the list of deployments is damaged"),
        ("shared", b"\x81\xa7version\x63", "a later release wrote it"),
    ],
)
async def test_what_cannot_be_read_is_left_alone(name, content, problem):
    documents = Documents()
    one, _ = await opened(documents, "one")
    one.port.checkpoint(state_of("a"))
    await one.port.save_stopped(STOPPED)
    await one.port.close()
    documents.put(name, content, "one")
    before = dict(documents.saved)
    two = Store(documents, "two")
    with pytest.raises(StateUnavailable, match=problem):
        await two.port.open(())
    two.port.checkpoint(state_of("a"))
    await two.port.save_before_updates(state_of("a"), ["a"])
    with pytest.raises(StateNotSaved):
        await two.port.save_stopped({})
    await two.port.close()
    assert documents.saved == before


async def test_its_description():
    documents = Documents()
    assert await described_documents(documents.of("check")) == "the cupboard, not written yet"
    one, _ = await opened(documents, "one")
    one.port.checkpoint(state_of("a"))
    await one.port.close()
    text = await described_documents(documents.of("check"))
    assert text == "the cupboard, 1 deployment, last written by one"
    documents.put("stopped", b"\x81", "one")
    text = await described_documents(documents.of("check"))
    assert text.startswith("the cupboard; the record of stopped deployments is damaged: ")
    documents.put("stopped", b"", "one", problem="stopped is of version 7")
    text = await described_documents(documents.of("check"))
    assert text == "the cupboard; its document stopped is of version 7"
    documents.failure = "no index today"
    text = await described_documents(documents.of("check"))
    assert text == "the cupboard, which cannot be read: no index today"


async def test_the_name_of_another_cluster_may_be_no_text():
    documents = Documents()
    one, _ = await opened(documents, "one")
    one.port.checkpoint(state_of("a"))
    await settled()
    documents.put("cluster", b"\xff" * 5_000, "one")
    two, _ = await opened(documents, "two")
    problem = await two.port.bind("this")
    assert "is of another cluster, " in problem
    assert len(problem) < 1_000


async def test_a_defect_in_one_checkpoint_does_not_end_all_of_them():
    documents = Documents()
    one, _ = await opened(documents, "one")
    defects = [RuntimeError("a defect")]

    def before_write():
        if defects:
            raise defects.pop()

    documents.before_write = before_write
    handled = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: handled.append(context))
    one.port.checkpoint(state_of("a"))
    await settled()
    assert "shared" not in documents.saved
    one.port.checkpoint(state_of("a", at=995.0))
    await settled()
    assert "shared" in documents.saved
    await one.port.close()
    gc.collect()  # then it is reported
    assert [str(each["exception"]) for each in handled] == ["a defect"]
