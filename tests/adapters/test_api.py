"""The paths under /api/v1, and the document that describes them."""

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
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
    Guard,
    Health,
    Tokens,
)
from autoscaler.connection import Bearer
from autoscaler.core.decision import OutcomeKind, Unmanaged
from autoscaler.wire.decision_views import AdminError, DeploymentResponse
from autoscaler.wire.status_views import StatusResponse, SummariesResponse
from tests.adapters.recorded import cycle, decision, outcome, steady
from tests.fakes import FakeClock

STRANGE = "e5\x1b[2J/{x}%2F\n\u202e"
TOKEN = "a-token-of-the-test"
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


class Api:
    """A server with an API, and requests to it."""

    def __init__(self, cluster: str = "") -> None:
        clock = FakeClock(start=1_000.0)
        self.decisions = DecisionRecorder(clock, "1.2.3")
        self.health = Health(clock, 10.0)
        self.pages = ClusterPages(self.health, self.decisions, cluster=cluster)
        self.admin = AdminServer(
            CollectorRegistry(),
            self.pages,
            host="127.0.0.1",
            port=0,
            version="1.2.3",
            guard=Guard(Tokens(Bearer(TOKEN))),
        )

    def observe(self) -> None:
        outcomes = (
            outcome(decision("elser"), OutcomeKind.ACCEPTED),
            outcome(steady(STRANGE), OutcomeKind.UNCHANGED),
        )
        recorded = cycle(*outcomes, unmanaged={"other": Unmanaged.NO_RULE})
        self.decisions.planned(*recorded)
        self.health.planned(*recorded)

    async def send(self, method: str, path: str, **more: Any) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{self.admin.port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, URL(url, encoded=True), **more) as response,
        ):
            if response.content_type == "text/event-stream":  # which does not end
                return response.status, await response.content.readline()
            return response.status, await response.read()

    async def get(self, path: str, kind: Any) -> Any:
        status, body = await self.send("GET", path)
        assert status == 200, body
        return msgspec.json.decode(body, type=kind, strict=True)

    async def document(self, prefix: str = "") -> dict[str, Any]:
        status, body = await self.send("GET", f"{prefix}/api/v1/openapi.json")
        assert status == 200
        return json.loads(body)


@asynccontextmanager
async def serving(cluster: str = "", *, observed: bool = True):
    api = Api(cluster)
    if observed:
        api.observe()
    async with api.admin:
        yield api


async def test_the_status_says_what_is_wrong_before_the_first_observation():
    async with serving(observed=False) as api:
        status = await api.get("/api/v1/status", StatusResponse)

    assert status.alive
    assert not status.ready
    assert status.problem == "the cluster has not been observed yet"
    assert status.observed_at is status.deployments is None


async def test_the_status_counts_the_deployments():
    async with serving() as api:
        status = await api.get("/api/v1/status", StatusResponse)

    assert status.ready
    assert status.problem == ""
    assert (status.deployments.managed, status.deployments.unmanaged) == (2, 1)


@pytest.mark.parametrize("saved", [False, True, None])
async def test_the_status_says_whether_the_state_is_saved(saved):
    async with serving() as api:
        assert (await api.get("/api/v1/status", StatusResponse)).state_saved is None
        api.pages.status_pages.contents.state = SimpleNamespace(saved=saved)
        assert (await api.get("/api/v1/status", StatusResponse)).state_saved is saved


async def test_the_list_has_every_deployment_with_its_figures():
    async with serving() as api:
        listed = await api.get("/api/v1/deployments", SummariesResponse)

    by_id = {each.deployment: each for each in listed.deployments}
    assert by_id.keys() == {"elser", STRANGE, "other"}
    assert by_id["elser"].outcome == "accepted"
    assert by_id["other"].status == "unmanaged"
    assert by_id["other"].running is None


async def test_the_list_is_filtered_by_a_pattern():
    async with serving() as api:
        listed = await api.get("/api/v1/deployments?deployment=els*", SummariesResponse)

    assert [each.deployment for each in listed.deployments] == ["elser"]


@pytest.mark.parametrize(
    "query", ["?deploymnt=x", "?deployment=a&deployment=b", "?deployment=" + "x" * 257]
)
async def test_parameters_that_are_not_in_the_document_are_errors(query):
    async with serving() as api:
        status, body = await api.send("GET", f"/api/v1/deployments{query}")

    assert status == 400
    assert msgspec.json.decode(body, type=AdminError).error


async def test_one_deployment_is_found_by_any_id():
    async with serving() as api:
        path = f"/api/v1/deployments/{quote(STRANGE, safe='')}"
        found = await api.get(path, DeploymentResponse)

    assert found.deployment.deployment == STRANGE


async def test_the_paths_of_a_named_cluster_begin_with_its_name():
    async with serving("tokyo-1") as api:
        document = await api.document("/clusters/tokyo-1")
        status = await api.get("/clusters/tokyo-1/api/v1/status", StatusResponse)

    assert status.cluster == "tokyo-1"
    assert all(path.startswith("/clusters/tokyo-1/api/v1/") for path in document["paths"])


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


HOSTILE = ("%00", "..%2f..", "%f0%9f", "x" * 2_000, "%25", "a%0d%0aX: y", "😀", '"<script>')
BODIES = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"a": 1}',
    b"\xff",
    b"[" * 4_000,
    b'{"deployment": 1e999}',
)


async def test_every_operation_answers_as_the_document_says_whatever_is_sent():
    async with serving() as api:
        document = await api.document()
        for path, method, operation in operations(document):
            assert operation["summary"], path
            for text in HOSTILE:
                encoded = quote(text, safe="%")
                target = path.replace("{deployment_id}", encoded)
                for query in ("", f"?deployment={encoded}&{encoded}={encoded}"):
                    bodies = BODIES if "requestBody" in operation else (b"",)
                    for body in bodies:
                        status, content = await api.send(
                            method,
                            target + query,
                            data=body or None,
                            headers=WITH_TOKEN | {"Content-Type": "application/json"},
                        )
                        assert str(status) in operation["responses"], (method, target, status)
                        assert status not in range(500, 503), (method, target, content)
                        if status >= 400:
                            assert msgspec.json.decode(content, type=AdminError).error


async def test_every_reference_of_the_document_is_defined_in_it():
    async with serving() as api:
        document = await api.document()

    text = json.dumps(document)
    names = document["components"]["schemas"]
    for piece in text.split('"#/components/schemas/')[1:]:
        assert piece.split('"')[0] in names
    assert document["openapi"].startswith("3.1.")
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


async def test_every_change_requires_a_token_and_says_so():
    async with serving() as api:
        document = await api.document()
        for path, method, operation in operations(document):
            if method == "GET":
                continue
            assert operation["security"] == [{"token": []}], path
            status, _ = await api.send(method, path.replace("{deployment_id}", "elser"))
            assert status == 401, path
