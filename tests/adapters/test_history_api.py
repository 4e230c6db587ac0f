"""The history under /api/v1."""

import json
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from yarl import URL

from autoscaler.adapters.admin_http import (
    AdminServer,
    ClusterPages,
    DecisionRecorder,
    Health,
)
from autoscaler.adapters.history import History
from autoscaler.core.decision import OutcomeKind
from autoscaler.wire.decision_views import AdminError
from autoscaler.wire.history import Event
from autoscaler.wire.history_views import HistoryResponse
from tests.adapters.recorded import decision, outcome
from tests.fakes import FakeClock

STRANGE = "e5\x1b[2J/{x}%2F\n\u202e"


@asynccontextmanager
async def serving():
    """The history, and a function that requests a path of it."""
    clock = FakeClock(start=1_000.0)
    history = History(clock, None)
    pages = ClusterPages(
        Health(clock, 10.0),
        DecisionRecorder(clock, "1.2.3"),
        read_history=history.read,
    )
    server = AdminServer(CollectorRegistry(), pages, host="127.0.0.1", port=0, version="1.2.3")

    async def get(path):
        url = URL(f"http://127.0.0.1:{server.port}/api/v1{path}", encoded=True)
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()

    async with server:
        yield history, get


async def entries(get, path):
    status, body = await get(path)
    assert status == 200, body
    return msgspec.json.decode(body, type=HistoryResponse)


async def test_it_is_empty_before_anything_happens():
    async with serving() as (_, get):
        found = await entries(get, "/history")
        assert (found.autoscaler, found.kept_in, found.entries, found.next) == (
            "1.2.3",
            "",
            (),
            "",
        )


async def test_that_of_one_deployment_has_its_events_and_those_of_the_whole():
    async with serving() as (history, get):
        history.note("started", "autoscaler 1.2.3 has started")
        for name in ("elser", STRANGE):
            history.note("instruction", f"{name} is paused", deployment_id=name, by="alice")
        found = await entries(get, f"/deployments/{quote(STRANGE, safe='')}/history")
        assert [each.message for each in found.entries] == [
            f"{STRANGE} is paused",
            "autoscaler 1.2.3 has started",
        ]
        assert found.entries[0].by == "alice"


async def test_hostile_text_is_escaped():
    async with serving() as (history, get):
        history.note("instruction", f"{STRANGE} is paused", deployment_id=STRANGE, by=STRANGE)
        _, body = await get("/history")
        assert body.isprintable()
        assert json.loads(body)["entries"][0]["deployment"] == STRANGE


async def test_the_pages_have_every_entry_once():
    async with serving() as (history, get):
        for number in range(7):
            history.note("instruction", str(number))
        found, before = [], ""
        while True:
            page = await entries(get, f"/history?limit=3&before={before}")
            found += [int(each.message) for each in page.entries]
            if not (before := page.next):
                break
        assert found == [6, 5, 4, 3, 2, 1, 0]


async def test_decisions_have_their_steps_only_if_that_is_requested():
    async with serving() as (history, get):
        sent = outcome(decision("elser"), OutcomeKind.ACCEPTED)
        history.record([Event(1_000.0, "elser", "update", sent)])
        (brief,) = (await entries(get, "/history")).entries
        (whole,) = (await entries(get, "/history?details=true")).entries
        assert brief.decision is None
        assert whole.decision is not None
        assert whole.decision.steps


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("since=-1", "since"),
        ("since=yesterday", "since"),
        ("before=yesterday", "before must be the value of next in an earlier response"),
        ("details=perhaps", "details"),
        ("sinse=3", "sinse"),
    ],
)
async def test_parameters_that_cannot_be_meant_are_rejected(query, error):
    async with serving() as (_, get):
        status, body = await get(f"/history?{query}")
        assert status == 400
        assert error in msgspec.json.decode(body, type=AdminError).error
