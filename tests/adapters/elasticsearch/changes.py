"""A cluster on loopback for tests of changes, with its paths and refusals."""

from contextlib import asynccontextmanager

import pytest

from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.ports import UpdateFailed
from tests.adapters.elasticsearch.servers import (
    api_for,
    endpoint,
    refusal,
    respond,
    serving,
)
from tests.fakes import FakeClock

STATS, INFERENCE, ROOT = "/_ml/trained_models/_stats", "/_inference/_all", "/"
PIPELINES = "/_ingest/pipeline"
UPDATE, STOP, START = (
    f"/_ml/trained_models/elser/deployment/{verb}" for verb in ("_update", "_stop", "_start")
)
UPDATE_ENDPOINT = "/_inference/sparse_embedding/elser/_update"
STATUS = "status_exception"
ENABLED = {"enabled": True, "min_number_of_allocations": 1, "max_number_of_allocations": 8}
OWNED = respond({"endpoints": [endpoint("elser")]})
NO_ENDPOINTS = respond({"endpoints": []})
OWNED_CONFLICT = refusal(
    409,
    STATUS,
    "Cannot update deployment [elser] as it was created by inference endpoint [elser]. "
    "This model deployment must be updated through the inference API.",
)
UNAUTHORISED = refusal(
    403, "security_exception", "action [x] is unauthorized for user [scaler] with roles [r]"
)
NO_MASTER = refusal(503, "master_not_discovered_exception", "no master")
NOT_STARTED = refusal(409, STATUS, "[starting] not in [started] state")
UNKNOWN_FIELD = refusal(
    400,
    "x_content_parse_exception",
    "[1:2] [update_trained_model_deployment_request] unknown field [adaptive_allocations]",
)


@asynccontextmanager
async def cluster_of(*responses, **settings):
    async with serving(*responses) as server, api_for(server, **settings) as api:
        yield ElasticsearchCluster(api, FakeClock(start=1_000.0)), server


async def outcome_of(cluster, change, fragment=None, name="elser"):
    with pytest.raises(UpdateFailed, match=fragment) as caught:
        await cluster.carry_out(name, change)
    assert str(caught.value)
    return caught.value.kind


def sent(server, path):
    """The bodies sent to `path`, in order."""
    return [server.body(i) for i, found in enumerate(server.paths) if found == path]
