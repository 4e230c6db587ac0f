"""The lease of Kubernetes: requests, credentials, and what is kept of the object."""

import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from msgspec.structs import replace

from autoscaler.adapters.kubernetes_lease import (
    KubernetesAccess,
    KubernetesLease,
    NotInKubernetes,
    pod_access,
)
from autoscaler.core.election import Lease
from autoscaler.ports import LeaseUnavailable
from tests.adapters.elasticsearch.servers import serving
from tests.fake_kubernetes import PATH, FakeKubernetes

LEASE = Lease(holder="one", ttl_s=30.5, transitions=3, acquired_at=1.5, renewed_at=2.25)


@asynccontextmanager
async def opened(directory):
    server = FakeKubernetes()
    await server.start()
    try:
        async with KubernetesLease(server.access(directory), "autoscaler") as store:
            yield server, store
    finally:
        await server.stop()


async def test_the_object_that_is_created(tmp_path):
    async with opened(tmp_path) as (server, store):
        written = await store.write(LEASE, None)

    method, path, body = server.requests[0]
    assert (method, path) == ("POST", PATH)
    assert json.loads(body) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "autoscaler", "namespace": "search"},
        "spec": {
            "holderIdentity": "one",
            "leaseDurationSeconds": 31,
            "acquireTime": "1970-01-01T00:00:01.500000Z",
            "renewTime": "1970-01-01T00:00:02.250000Z",
            "leaseTransitions": 3,
        },
    }
    assert written.lease is not None
    assert written.lease.ttl_s == 31.0


async def test_labels_and_owners_of_the_object_are_kept(tmp_path):
    async with opened(tmp_path) as (server, store):
        await store.write(LEASE, None)
        metadata = {
            **server.objects["autoscaler"]["metadata"],
            "labels": {"team": "search"},
            "managedFields": [{"manager": "kubectl"}],
        }
        server.edit("autoscaler", metadata=metadata)

        found = await store.read()
        await store.write(replace(LEASE, renewed_at=9.0), found)

        kept = server.objects["autoscaler"]["metadata"]
        assert kept["labels"] == {"team": "search"}
        assert "managedFields" not in kept


async def test_a_token_that_has_rotated_is_used(tmp_path):
    async with opened(tmp_path) as (server, store):
        server.token = "token-2"
        with pytest.raises(LeaseUnavailable, match=r"401.*grant get, create and update"):
            await store.read()

        (tmp_path / "token").write_text("token-2\n")
        assert await store.read() is None


async def test_a_namespace_or_an_api_that_does_not_exist_is_no_missing_lease(tmp_path):
    async with opened(tmp_path) as (server, store):
        server.faults = [404]
        with pytest.raises(LeaseUnavailable, match="404"):
            await store.read()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_refusal_is_unavailable(status, tmp_path):
    async with opened(tmp_path) as (server, store):
        server.faults = [status, status]
        with pytest.raises(LeaseUnavailable, match=str(status)):
            await store.read()
        with pytest.raises(LeaseUnavailable, match=str(status)):
            await store.write(LEASE, None)


async def test_no_connection_is_unavailable(tmp_path):
    async with KubernetesLease(
        KubernetesAccess(url="http://127.0.0.1:1", namespace="search"), "autoscaler"
    ) as store:
        with pytest.raises(LeaseUnavailable, match="cannot be reached"):
            await store.read()


def _service_account(directory):
    (directory / "token").write_text("t")
    (directory / "namespace").write_text("search\n")
    return directory


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_the_access_of_a_pod(host, url, tmp_path):
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    account = _service_account(tmp_path)

    access = pod_access(environment, service_account=account)

    assert access == KubernetesAccess(
        url=url,
        namespace="search",
        token_file=account / "token",
        ca_file=account / "ca.crt",
    )
    assert pod_access(environment, "other", account).namespace == "other"


def test_outside_a_pod_there_is_no_access(tmp_path):
    with pytest.raises(NotInKubernetes, match="only in a pod"):
        pod_access({}, service_account=_service_account(tmp_path))
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(NotInKubernetes, match="only in a pod"):
        pod_access(environment, service_account=tmp_path / "missing")


async def test_tokens_that_a_server_repeats_are_not_shown(tmp_path):
    tokens, file = ("eyJhbGciOi.the-first-token", "eyJhbGciOi.the-second-token"), tmp_path / "token"

    async def echo(request):
        headers = dict(request.headers)
        return web.json_response({"message": f"{headers} {tokens[0]}"}, status=403)

    async with serving(echo) as server:
        access = KubernetesAccess(url=server.url.rstrip("/"), namespace="ns", token_file=file)
        async with KubernetesLease(access, "autoscaler") as store:
            for token in tokens:
                file.write_text(token)
                with pytest.raises(LeaseUnavailable, match=r"Bearer \*\*\*") as caught:
                    await store.read()
                assert token not in str(caught.value)
                assert tokens[0] not in str(caught.value)
