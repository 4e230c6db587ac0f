"""No change is sent that another instance may overtake, or that was decided too long ago."""

import pytest

from autoscaler.adapters.elasticsearch.documents import (
    DocumentApi,
    DocumentUpdate,
    DocumentVersion,
)
from autoscaler.adapters.elasticsearch.errors import NotLeading
from autoscaler.core.decision import OutcomeKind, SetAllocations, Start, Stop
from autoscaler.ports import DocumentsNotSent, DocumentWrite, UpdateFailed
from autoscaler.state_stores import state_documents_of
from tests.adapters.elasticsearch.changes import (
    INFERENCE,
    NO_ENDPOINTS,
    OWNED,
    PIPELINES,
    START,
    STOP,
    UPDATE,
    UPDATE_ENDPOINT,
    cluster_of,
    outcome_of,
)
from tests.adapters.elasticsearch.servers import assigning, echoing, respond
from tests.fakes import FakeClock

TIMEOUT_S = 4.0
START_ELSER = Start(
    model_id="elser",
    allocations=1,
    threads_per_allocation=1,
    queue_capacity=None,
    cache_bytes=None,
    priority="normal",
    adaptive=None,
)


class TimeLeft:
    """A Leadership with so many seconds left."""

    name, leading_since, leader = "this", 0.0, "this"

    def __init__(self, seconds):
        self.seconds = seconds

    def leads(self, *, for_s=0.0):
        return for_s < self.seconds


RESPONSES = {
    UPDATE: assigning,
    START: assigning,
    STOP: respond({"stopped": True}),
    INFERENCE: NO_ENDPOINTS,
    PIPELINES: respond({}),
}


def changes_of(server):
    return [request.path for request in server.requests if request.method != "GET"]


@pytest.mark.parametrize("change", [SetAllocations(4), START_ELSER, Stop()], ids=type)
async def test_a_change_is_sent_only_if_the_lease_outlasts_its_timeout(change):
    leadership = TimeLeft(TIMEOUT_S)
    async with cluster_of(RESPONSES, leadership=leadership, request_timeout_s=TIMEOUT_S) as (
        cluster,
        server,
    ):
        kind = await outcome_of(cluster, change, "may not lead until its response")
        assert kind is OutcomeKind.WITHHELD
        assert changes_of(server) == []

        leadership.seconds = TIMEOUT_S + 0.1
        await cluster.carry_out("elser", change)
        assert len(changes_of(server)) == 1


async def test_reads_need_no_lease():
    async with cluster_of(
        RESPONSES | {"/": respond({}), "/_ml/trained_models/_stats": respond({"count": 0})},
        leadership=TimeLeft(0.0),
    ) as (cluster, _):
        await cluster.observe()


async def test_the_second_request_of_a_change_needs_the_lease_too():
    leadership = TimeLeft(100.0)

    async def accept_and_end(request):
        leadership.seconds = 0.0
        return await echoing(request)

    async with cluster_of(
        RESPONSES | {INFERENCE: OWNED, UPDATE_ENDPOINT: accept_and_end}, leadership=leadership
    ) as (cluster, server):
        await cluster.ownership.read(["elser"])
        change = SetAllocations(4, take_over=True)
        kind = await outcome_of(cluster, change, "accepted, and the rest was not sent")
        assert kind is OutcomeKind.UNKNOWN
        assert changes_of(server) == [UPDATE_ENDPOINT]


async def test_a_host_is_not_avoided_because_of_a_request_that_was_not_sent():
    leadership = TimeLeft(0.0)
    async with cluster_of(RESPONSES, leadership=leadership) as (cluster, server):
        await outcome_of(cluster, SetAllocations(4))
        leadership.seconds = 100.0
        await cluster.carry_out("elser", SetAllocations(4))
        assert changes_of(server) == [UPDATE]


@pytest.mark.parametrize("change", [SetAllocations(4), START_ELSER, Stop()], ids=type)
async def test_a_change_that_was_decided_too_long_ago_is_not_sent(change):
    async with cluster_of(RESPONSES) as (cluster, server):
        at = cluster._api._transport._clock.now()
        with pytest.raises(UpdateFailed, match="would have been sent 5 min too late") as raised:
            await cluster.carry_out("elser", change, until=at - 300.0)
        assert raised.value.kind is OutcomeKind.OUTDATED
        assert changes_of(server) == []
        await cluster.carry_out("elser", change, until=at + 300.0)
        assert len(changes_of(server)) == 1


async def test_a_process_that_is_suspended_before_the_second_request_of_a_change_sends_no_more():
    async def accept_and_suspend(request):
        transport.changes_until = transport._clock.now() - 300.0
        return await echoing(request)

    async with cluster_of(RESPONSES | {INFERENCE: OWNED, UPDATE_ENDPOINT: accept_and_suspend}) as (
        cluster,
        server,
    ):
        transport = cluster._api._transport
        await cluster.ownership.read(["elser"])
        change = SetAllocations(4, take_over=True)
        kind = await outcome_of(cluster, change, "accepted, and the rest was not sent")
        assert kind is OutcomeKind.UNKNOWN
        assert changes_of(server) == [UPDATE_ENDPOINT]


async def test_only_the_leader_writes_documents_that_belong_to_it():
    leadership = TimeLeft(TIMEOUT_S)
    written = respond({"items": [{"create": {"_id": "a", "status": 201, "_seq_no": 0}}]})
    async with cluster_of(
        {"/state/_bulk": written, "/state/_doc/a": respond({}), "/state": respond({})},
        leadership=leadership,
        request_timeout_s=TIMEOUT_S,
    ) as (cluster, server):
        documents = DocumentApi(cluster._api._transport, "state", leader_only=True)
        version = DocumentVersion(0, 1)
        for attempt in (
            documents.update_many([DocumentUpdate("a", b"{}", None)]),
            documents.put("a", b"{}", version),
            documents.create_index(b"{}"),
        ):
            with pytest.raises(NotLeading):
                await attempt
        state = state_documents_of("state", FakeClock(), cluster._api._transport, writer="this")
        with pytest.raises(DocumentsNotSent):
            await state.write([DocumentWrite("a", b"", None)])
        assert server.requests == []
        leadership.seconds = TIMEOUT_S + 0.1
        await documents.update_many([DocumentUpdate("a", b"{}", None)])
        assert len(server.requests) == 1
