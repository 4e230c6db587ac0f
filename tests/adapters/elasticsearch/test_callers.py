"""Who calls a deployment, as far as the statistics and the list of inference endpoints show it."""

import pytest

from autoscaler.core.values import Callers
from tests.adapters.elasticsearch.servers import deployment, endpoint, info, respond, stats
from tests.adapters.elasticsearch.test_cluster import (
    INFERENCE,
    INFO,
    STATS,
    UNAUTHORISED,
    cluster_of,
    endpoints,
)

PIPELINES_NOT_REPORTED, NONE_LISTED = {}, []


async def callers(listed, entry, *, version="9.3.0"):
    """The callers of a deployment with this list of endpoints and this entry of the statistics."""
    responses = endpoints(
        **{
            INFO: respond(info(version)),
            INFERENCE: respond({"endpoints": listed}) if isinstance(listed, list) else listed,
            STATS: respond(stats(deployment("elser", number_of_allocations=2) | entry)),
        }
    )
    async with cluster_of(responses, retries=0) as (cluster, _, _):
        return (await cluster.observe()).callers["elser"]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (NONE_LISTED, Callers.DIRECT),
        ([endpoint("other")], Callers.DIRECT),
        ([endpoint("elser")], Callers.ENDPOINT),
        ([endpoint("search", deployment_id="elser")], Callers.ENDPOINT),
        ([endpoint("elser") | {"task_type": "completion"}], Callers.COMPLETION),
        ([endpoint("elser") | {"task_type": "chat_completion"}], Callers.COMPLETION),
    ],
    ids=["none", "another", "owner", "attached", "completion", "chat completion"],
)
async def test_without_pipelines_the_endpoints_decide(listed, expected):
    assert await callers(listed, {"pipeline_count": 0}) is expected


@pytest.mark.parametrize("listed", [NONE_LISTED, [endpoint("elser")], UNAUTHORISED])
@pytest.mark.parametrize("count", [1, 800])
async def test_an_ingest_pipeline_waits_longest(listed, count):
    assert await callers(listed, {"pipeline_count": count}) is Callers.INGEST


@pytest.mark.parametrize("entry", [PIPELINES_NOT_REPORTED, {"pipeline_count": "odd"}])
async def test_unknown_pipelines_are_not_none(entry):
    assert await callers(NONE_LISTED, entry) is Callers.UNKNOWN
    assert await callers([endpoint("elser")], entry) is Callers.ENDPOINT


@pytest.mark.parametrize(
    "listed",
    [UNAUTHORISED, respond("<html>", 502), respond({"endpoints": 3}), [{"inference_id": "odd"}]],
    ids=["not permitted", "failed", "odd", "an odd endpoint"],
)
async def test_nor_are_unknown_endpoints(listed):
    assert await callers(listed, {"pipeline_count": 0}) is Callers.UNKNOWN


async def test_before_the_inference_api_there_are_no_endpoints():
    none = respond({"error": "Incorrect HTTP method for uri [/_inference/_all]"}, 405)
    assert await callers(none, {"pipeline_count": 0}, version="8.10.4") is Callers.DIRECT
