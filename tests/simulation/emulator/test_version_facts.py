"""Each fact of the table of versions is seen over HTTP, on both sides of each of its changes.

A probe returns what it observes in a version: the value that the table has for it.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from autoscaler.simulation.scenario import (
    Account,
    ScenarioDeployment,
    ScenarioModel,
    SecuritySettings,
)
from autoscaler.simulation.version_facts import Release, facts_of
from autoscaler.simulation.versions import VersionBehaviour
from tests.simulation.emulator.conftest import client_of, scenario

pytestmark = pytest.mark.untraced

MODELS = "/_ml/trained_models"
E5 = f"{MODELS}/e5/deployment"
BIG = f"{MODELS}/big/deployment"
MINE = "/_inference/text_embedding/e5/_update"
DOC = {"docs": [{"text_field": "hello"}]}
DOC_BYTES, JSON = msgspec.json.encode(DOC), {"Content-Type": "application/json"}
TO_ZERO = {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 0}}
OWNED = ScenarioDeployment(model_id="e5", owned_by_endpoint=True)

LATEST_PATCH = 99
FACTS = {fact.name: fact for fact in facts_of(VersionBehaviour)}

Probe = Callable[[str], Awaitable[object]]
PROBES: dict[str, Probe] = {}


def probe(function: Probe) -> Probe:
    """Registers the probe of the fact with the name of the function."""
    assert function.__name__ not in PROBES, "two probes of one fact"
    PROBES[function.__name__] = function
    return function


def running(version, **changes):
    return client_of(scenario(version=version, **changes))


def owned(version):
    return running(version, deployments=[OWNED])


async def attached(es):
    response = await es.post(
        "/_emulator/endpoints", {"inference_id": "guest", "deployment_id": "e5"}
    )
    assert response.status == 200, response.text


async def at_zero(es, deployment_id="e5"):
    """Brings a deployment to zero allocations at once, as hours without requests do."""
    es.cluster.update_deployment(deployment_id, number_of_allocations=0, internal=True)
    await es.clock.advance(5.0)


async def is_deployed(es, model_id="e5"):
    (entry,) = (await es.get(f"{MODELS}/{model_id}/_stats")).document["trained_model_stats"]
    return "deployment_stats" in entry


# Deployments


@probe
async def deployment_id(version):
    async with running(version) as es:
        started = await es.post(f"{E5}/_start", {"deployment_id": "e5-two"})
        assert started.status in (200, 400)
        assert ("deployment_id" in await es.deployment("e5")) is (started.status == 200)
        return started.status == 200


@probe
async def start_timeout_s(version):
    slow = ScenarioModel(model_id="big", load_s=600.0)
    async with running(version, models=[slow], deployments=[]) as es:
        began = es.cluster.now
        assert (await es.post(f"{BIG}/_start")).status == 408
        return es.cluster.now - began


@probe
async def memory_parameters(version):
    async with running(version) as es:
        updated = await es.post(f"{E5}/_update", {"number_of_allocations": 2})
        parameters = updated.document["assignment"]["task_parameters"]
        names = {"per_deployment_memory_bytes", "per_allocation_memory_bytes"}
        present = names & set(parameters)
        assert present in (names, set())
        return present == names


@probe
async def update_query_parameter(version):
    async with running(version) as es:
        updated = await es.post(f"{E5}/_update?number_of_allocations=2")
        assert updated.status in (200, 400)
        reported = (await es.deployment("e5"))["number_of_allocations"]
        return (updated.status, reported) == (200, 2)


@probe
async def update_may_be_empty(version):
    async with running(version) as es:
        updated = await es.post(f"{E5}/_update", {})
        if updated.status == 400:
            assert updated.error["type"] == "action_request_validation_exception"
        assert updated.status in (200, 400)
        return updated.status == 200


@probe
async def queue_capacity(version):
    async with running(version) as es:
        await es.post(f"{BIG}/_start")
        return (await es.deployment("big"))["queue_capacity"]


@probe
async def max_queue_capacity(version):
    async with running(version) as es:
        for most in sorted(values_of("max_queue_capacity"), reverse=True):
            above = await es.post(f"{BIG}/_start", {"queue_capacity": most + 1})
            assert (above.status, above.error["type"]) == (
                400,
                "action_request_validation_exception",
            )
            if (await es.post(f"{BIG}/_start", {"queue_capacity": most})).status == 200:
                return most
        return None


@probe
async def process_memory(version):
    model = ScenarioModel(model_id="e5", process_memory="300mb")
    async with running(version, models=[model]) as es:
        await es.clock.advance(10.0)
        (node,) = (await es.deployment("e5"))["nodes"]
        return "average_inference_process_memory_rss_bytes" in node


@probe
async def drains(version):
    """A decrease removes a node whose queue is full of requests."""
    busy = ScenarioDeployment(model_id="e5", number_of_allocations=8)
    async with running(version, deployments=[busy]) as es:
        await es.clock.advance(10.0)
        load = {
            "kind": "spike",
            "base_per_s": 0.0,
            "peak_per_s": 400.0,
            "after_s": 0.0,
            "for_s": 5.0,
        }
        assert (await es.post("/_emulator/deployments/e5/load", load)).status == 200
        await es.clock.advance(5.0)
        updated = await es.post(f"{E5}/_update", {"number_of_allocations": 4})
        assert updated.status == 200
        await es.clock.advance(30.0)
        assert len((await es.deployment("e5"))["nodes"]) == 1
        ledger = (await es.get("/_emulator/state")).document["deployments"]["e5"]["ledger"]
        return ledger["rejected"] + ledger["failed"] == 0


@probe
async def low_priority_check(version):
    async with running(version) as es:
        assert (await es.post(f"{BIG}/_start?timeout=1m", {"priority": "low"})).status == 200
        updated = await es.post(f"{BIG}/_update", {"number_of_allocations": 2})
        assert updated.status in (200, 400)
        return updated.status == 400


@probe
async def failed_start_is_a_conflict(version):
    async with running(version) as es:
        waiting = asyncio.ensure_future(es.request("POST", f"{BIG}/_start"))
        await es.clock.advance(1.0)
        (node,) = es.cluster.deployments["big"].routes
        await es.post(f"/_emulator/deployments/big/crash?node={node}")
        response = await es.clock.run(waiting)
        assert response.status in (409, 500)
        assert not await is_deployed(es, "big")
        return response.status == 409


# Adaptive allocations


@probe
async def adaptive_allocations(version):
    async with running(version) as es:
        updated = await es.post(f"{E5}/_update", {"adaptive_allocations": {"enabled": False}})
        assert updated.status in (200, 400)
        assert ("adaptive_allocations" in await es.deployment("e5")) is (updated.status == 200)
        return updated.status == 200


@probe
async def zero_allocations(version):
    return await scale_to_zero_s(version) is not None


@probe
async def zero_is_fully_allocated(version):
    async with running(version) as es:
        await at_zero(es)
        return (await es.deployment("e5"))["allocation_status"]["state"] == "fully_allocated"


@probe
async def scale_to_zero_s(version):
    async with running(version) as es:
        began = es.cluster.now
        await es.post(f"{E5}/_update", TO_ZERO)
        for idle_s in sorted(value for value in values_of("scale_to_zero_s") if value):
            await es.clock.advance(began + idle_s - 20.0 - es.cluster.now)
            assert (await es.deployment("e5"))["number_of_allocations"] == 1
            await es.clock.advance(60.0)
            if (await es.deployment("e5"))["number_of_allocations"] == 0:
                return idle_s
        return None


@probe
async def adaptive_times_are_settings(version):
    async with running(version) as es:
        prefix = "xpack.ml.trained_models.adaptive_allocations"
        statuses = [
            (await es.put("/_cluster/settings", {"persistent": {f"{prefix}.{name}": "2m"}})).status
            for name in ("scale_to_zero_time", "scale_up_cooldown_time")
        ]
        assert statuses in ([200, 200], [400, 400])
        return statuses == [200, 200]


@probe
async def respects_slow_starts(version):
    """Idle allocations that were started a minute ago, but not by adaptive allocations."""
    async with running(version, deployments=[]) as es:
        allocations = {"number_of_allocations": 3}
        assert (await es.post(f"{E5}/_start?wait_for=fully_allocated", allocations)).status == 200
        await es.post(f"{E5}/_update", {"adaptive_allocations": {"enabled": True}})
        await es.clock.advance(60.0)
        kept = (await es.deployment("e5"))["number_of_allocations"]
        assert kept in (1, 3)
        return kept == 3


# Inference endpoints


@probe
async def inference_api(version):
    async with running(version) as es:
        listed = await es.get("/_inference/_all")
        assert listed.status in (200, 400)
        return listed.status == 200


@probe
async def endpoint_list(version):
    async with owned(version) as es:
        (key,) = (await es.get("/_inference/_all")).document
        return key


@probe
async def lists_one_endpoint_each(version):
    async with owned(version) as es:
        await attached(es)
        (endpoints,) = (await es.get("/_inference/_all")).document.values()
        assert len(endpoints) in (1, 2)
        return len(endpoints) == 1


@probe
async def inference_update(version):
    async with owned(version) as es:
        await es.put(MINE, {"service_settings": {"num_allocations": 2}})
        return (await es.deployment("e5"))["number_of_allocations"] == 2


@probe
async def updates_attached_endpoints(version):
    async with running(version) as es:
        await attached(es)
        updated = await es.put(
            "/_inference/text_embedding/guest/_update", {"service_settings": {"num_allocations": 2}}
        )
        assert updated.status in (200, 404)
        return updated.status == 200


@probe
async def task_type_in_body(version):
    async with owned(version) as es:
        body = {"task_type": "text_embedding", "service_settings": {"num_allocations": 2}}
        updated = await es.put("/_inference/e5/_update", body)
        assert updated.status in (200, 400)
        return updated.status == 200


@probe
async def inference_adaptive(version):
    adaptive = {"adaptive_allocations": {"enabled": True, "max_number_of_allocations": 4}}
    async with owned(version) as es:
        both = {"service_settings": {"num_allocations": 2, **adaptive}}
        refuses_both = (await es.put(MINE, both)).status == 400
        accepts_one = (await es.put(MINE, {"service_settings": adaptive})).status == 200
        assert refuses_both is accepts_one
        return ("adaptive_allocations" in await es.deployment("e5")) and accepts_one


@probe
async def endpoint_update_timeout(version):
    async with owned(version) as es:
        body = {"service_settings": {"num_allocations": 2}}
        updated = await es.put(f"{MINE}?timeout=5s", body)
        assert updated.status in (200, 400)
        return updated.status == 200


@probe
async def endpoint_keeps_settings(version):
    """The deployment has lost what its endpoint has stored."""
    async with owned(version) as es:
        es.cluster.update_deployment("e5", number_of_allocations=3, internal=True)
        updated = await es.put(MINE, {"service_settings": {"num_allocations": 1}})
        assert updated.status == 200
        return (await es.deployment("e5"))["number_of_allocations"] == 3


@probe
async def inference_threads_fixed(version):
    async with owned(version) as es:
        settings = {"num_allocations": 2, "num_threads": 2}
        updated = await es.put(MINE, {"service_settings": settings})
        assert updated.status in (200, 400)
        assert (await es.deployment("e5"))["threads_per_allocation"] == 1
        return updated.status == 400


@probe
async def endpoint_owned_conflict(version):
    async with owned(version) as es:
        await attached(es)
        direct = await es.post(f"{E5}/_update", {"number_of_allocations": 2})
        by_guest = await es.put(
            "/_inference/text_embedding/guest/_update", {"service_settings": {"num_allocations": 3}}
        )
        assert (direct.status, by_guest.status) in ((200, 200), (409, 409))
        return direct.status == 409


@probe
async def stop_guard(version):
    async with owned(version) as es:
        stopped = await es.post(f"{E5}/_stop")
        assert stopped.status in (200, 409)
    async with running(version) as es:
        await attached(es)
        assert (await es.post(f"{E5}/_stop")).status == stopped.status
    return stopped.status == 409


# Fields of responses


async def features(version):
    async with running(version) as es:
        return set((await es.get("/_xpack")).document["features"])


async def fields_of_nodes(version):
    async with running(version) as es:
        fields = [set(node) for node in (await es.get("/_nodes")).document["nodes"].values()]
        assert all(each == fields[0] for each in fields)
        return fields[0]


@probe
async def feature_frozen_indices(version):
    return "frozen_indices" in await features(version)


@probe
async def features_of_8_16(version):
    named = {"enterprise_search", "esql", "logsdb", "universal_profiling"}
    present = named & await features(version)
    assert present in (named, set())
    return present == named


@probe
async def feature_gpu_vector_indexing(version):
    return "gpu_vector_indexing" in await features(version)


@probe
async def transport_version_of_nodes(version):
    return "transport_version" in await fields_of_nodes(version)


@probe
async def index_version_of_nodes(version):
    named = {"index_version", "component_versions"}
    present = named & await fields_of_nodes(version)
    assert present in (named, set())
    return present == named


@probe
async def unassigned_primary_shards(version):
    async with running(version) as es:
        return "unassigned_primary_shards" in (await es.get("/_cluster/health")).document


@probe
async def model_platform_variant(version):
    async with running(version) as es:
        return "model_platform_variant" in (await es.get("/_ml/info")).document["defaults"]


@probe
async def managed_api_keys(version):
    account = Account(username="scaler", roles=["superuser"], api_key="k1:key")
    async with running(version, security=SecuritySettings(accounts=[account])) as es:
        key = base64.b64encode(b"k1:key").decode()
        authenticated = await es.get(
            "/_security/_authenticate", headers={"Authorization": f"ApiKey {key}"}
        )
        return "managed_by" in authenticated.document["api_key"]


@probe
async def deployment_infer(version):
    async with running(version) as es:
        await es.clock.advance(10.0)
        response = await es.post(f"{E5}/_infer", DOC)
        return response.status == 200


@probe
async def empty_task_settings(version):
    async with owned(version) as es:
        listed = await es.get("/_inference/_all")
        if listed.status == 400:  # no `_inference` yet
            return False
        ((endpoint,),) = listed.document.values()
        return endpoint.get("task_settings") == {}


# Defects


@probe
async def start_forgets_zero(version):
    async with running(version) as es:
        await es.post(f"{E5}/_update", TO_ZERO)
        await at_zero(es)
        assert (await es.post(f"{BIG}/_start?timeout=1m")).status == 200
        return not await is_deployed(es)


@probe
async def shutdown_forgets_zero(version):
    async with running(version) as es:
        await es.post(f"{E5}/_update", TO_ZERO)
        await at_zero(es)
        assert (await es.delete("/_emulator/nodes/ml-2")).status == 200
        return not await is_deployed(es)


async def asleep(es):
    """Brings a deployment to zero that loads for a minute; whether the version has zero."""
    if (await es.post(f"{E5}/_update", TO_ZERO)).status == 400:
        return False
    await at_zero(es)
    return True


SLOW = [ScenarioModel(model_id="e5", load_s=60.0), ScenarioModel(model_id="big", load_s=60.0)]


@probe
async def waits_through_failures(version):
    async with running(version, models=SLOW) as es:
        await es.clock.advance(90.0)
        if not await asleep(es):
            return False
        waiting = asyncio.ensure_future(es.request("POST", f"{MODELS}/e5/_infer", DOC_BYTES, JSON))
        await es.clock.advance(1.0)
        (node,) = es.cluster.deployments["e5"].routes
        await es.post(f"/_emulator/deployments/e5/crash?node={node}")
        response = await es.clock.run(waiting)
        assert response.status in (408, 500)
        return response.status == 408


@probe
async def waiting_count_drifts(version):
    async with running(version, models=SLOW) as es:
        await es.clock.advance(90.0)
        if not await asleep(es):
            return False
        infer = es.cluster.infer
        for _ in range(60):
            infer("e5")
        await es.delete("/_emulator/deployments/e5")
        body = {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 0}}
        assert (await es.post(f"{E5}/_start?wait_for=starting", body)).status == 200
        refused = [infer("e5")[0].error for _ in range(120)]
        assert {error.status for error in refused if error} <= {429}
        assert refused.count(None) in (99, 120)
        return refused.count(None) > 99


@probe
async def waits_for_requested_id(version):
    other = ScenarioDeployment(model_id="e5", deployment_id="e5-two")
    adaptive = version != str(Release(8, 15, LATEST_PATCH))
    async with running(version, deployments=[other]) as es:
        if adaptive:
            await es.post(f"{MODELS}/e5-two/deployment/_update", TO_ZERO)
            await at_zero(es, "e5-two")
        response = await es.post(f"{MODELS}/e5/_infer?timeout=1m", DOC)
        assert response.status in (200, 409)
        return response.status == 409


def values_of(name):
    """All values that the table has for a fact."""
    fact = FACTS[name]
    return {fact.before, *(value for _, value in fact.changes)}


def releases_around(fact):
    """The first release with each change, in every minor version, and the last before it."""
    named = {release for first, _ in fact.changes for release in first.releases}
    return sorted(
        release
        for release in named | {last_before(release) for release in named}
        if release >= Release(8, 6)
    )


def last_before(release):
    if release.patch:
        return release._replace(patch=release.patch - 1)
    if release.minor:
        return Release(release.major, release.minor - 1, LATEST_PATCH)
    return Release(8, 19, LATEST_PATCH)


CASES = [(name, str(release)) for name in FACTS for release in releases_around(FACTS[name])]


@pytest.mark.parametrize(("name", "version"), CASES)
async def test_a_version_behaves_as_the_table_says(name, version):
    expected = getattr(VersionBehaviour, name).of(Release(*map(int, version.split("."))))
    assert await PROBES[name](version) == expected


def test_every_fact_has_a_probe_and_a_source():
    assert set(PROBES) == set(FACTS)
    assert [name for name, fact in FACTS.items() if not fact.source] == []
