"""Everything a client can be told: all endpoints in many situations of a cluster."""

from contextlib import asynccontextmanager

from autoscaler.simulation.scenario import (
    Account,
    ScenarioDeployment,
    ScenarioEndpoint,
    SecuritySettings,
)
from autoscaler.simulation.versions import behaviour_of
from tests.simulation.emulator.conftest import client_of, scenario

MODELS = "/_ml/trained_models"
DOCS = {"docs": [{"text_field": "hello"}]}

READS = [
    "/",
    "/_cluster/health",
    "/_cluster/health?level=shards",
    "/_cluster/settings",
    "/_cluster/settings?include_defaults&flat_settings",
    "/_inference",
    "/_inference/_all",
    "/_inference/e5",
    "/_inference/text_embedding/_all",
    "/_inference/text_embedding/e5",
    "/_ingest/pipeline",
    "/_license",
    "/_ml/info",
    "/_ml/memory/_stats",
    "/_ml/memory/ml:true/_stats?human",
    "/_nodes",
    "/_nodes/ml:true",
    "/_nodes/ml-1/none",
    "/_nodes/_master",
    "/_nodes/ml-1/os",
    "/_xpack",
    MODELS,
    f"{MODELS}/e5",
    f"{MODELS}/_stats",
    f"{MODELS}/e5/_stats?human",
]

ERRORS = [
    ("GET", "/_nowhere", None),
    ("GET", f"{MODELS}/e5/_infer", None),
    ("GET", f"{MODELS}/nothing", None),
    ("GET", f"{MODELS}/nothing/_stats", None),
    ("GET", f"{MODELS}/_stats?size=-1", None),
    ("GET", f"{MODELS}/_stats?unheard_of=1", None),
    ("GET", "/_inference/nothing", None),
    ("GET", "/_inference/rerank/e5", None),
    ("POST", f"{MODELS}/nothing/deployment/_start", None),
    ("POST", f"{MODELS}/e5/deployment/_start", None),
    ("POST", f"{MODELS}/big/deployment/_start?threads_per_allocation=3", None),
    ("POST", f"{MODELS}/big/deployment/_start?number_of_allocations=99", None),
    ("POST", f"{MODELS}/big/deployment/_start?timeout=1s", None),
    ("POST", f"{MODELS}/big/deployment/_update", {"number_of_allocations": 2}),
    ("POST", f"{MODELS}/e5/deployment/_update", {"number_of_allocations": 0}),
    ("POST", f"{MODELS}/e5/deployment/_update", {"number_of_allocations": 99}),
    ("POST", f"{MODELS}/e5/deployment/_update", {"unheard_of": 1}),
    ("POST", f"{MODELS}/e5/deployment/_update", {"model_id": "big"}),
    ("POST", f"{MODELS}/nothing/deployment/_update", {"number_of_allocations": 2}),
    ("POST", f"{MODELS}/nothing/deployment/_stop?allow_no_match=false", None),
    ("POST", f"{MODELS}/e5/_infer", None),
    ("POST", f"{MODELS}/e5/_infer?timeout=1s", {"docs": DOCS["docs"] * 60}),
    ("POST", f"{MODELS}/nothing/_infer", DOCS),
    ("POST", f"{MODELS}/nothing/deployment/cache/_clear", None),
    ("PUT", f"{MODELS}/e5", {"input": {"field_names": ["text_field"]}}),
    ("DELETE", f"{MODELS}/nothing", None),
    ("PUT", "/_cluster/settings", {"persistent": {"unheard.of": 1}}),
    ("PUT", "/_inference/text_embedding/nothing/_update", {"service_settings": {}}),
]

ACCOUNTS = [
    Account(username="root", roles=["superuser"], password="secret", api_key="k1:key", token="t"),
    Account(username="viewer", roles=["machine_learning_user"], password="secret"),
]


class Recorder:
    """Sends requests, and keeps the method, the path, and the response of each."""

    def __init__(self, es, headers=None):
        self.es, self.headers, self.responses = es, headers or {}, []
        self.behaviour = es.cluster.behaviour

    async def __call__(self, method, path, body=None, *, auth=None):
        headers = None if auth else self.headers
        response = await self.es(method, path, body, headers=headers, auth=auth)
        if not path.startswith("/_emulator/"):
            self.responses.append((method, path.partition("?")[0], response))
        return response

    async def post(self, path, body=None):
        return await self("POST", path, body)

    async def bulk(self, method, path, *lines):
        response = await self.es.bulk(path, *lines, method=method, headers=self.headers)
        self.responses.append((method, path, response))

    async def read(self):
        for path in READS:
            await self("GET", path)

    async def wait(self, seconds):
        await self.es.clock.advance(seconds)


@asynccontextmanager
async def recorder_of(scenario_, headers=None):
    async with client_of(scenario_) as es:
        yield Recorder(es, headers)


def _scenario(version, **changes):
    """`e5` runs and belongs to an endpoint where there are endpoints; `big` is not deployed."""
    owned = behaviour_of(version).inference_api
    deployment = ScenarioDeployment(model_id="e5", owned_by_endpoint=owned)
    return scenario(version=version, deployments=[deployment], **changes)


async def responses_of(version):
    """(method, path, response) of many requests to a cluster of a version."""
    responses = []
    for situation in (_life, _zero, _failures, _documents, _errors, _security):
        responses.extend(await situation(version))
    return responses


async def _life(version):
    """Models and deployments from their creation to their end."""
    async with recorder_of(_scenario(version, memory_statistics="model")) as call:
        await call("HEAD", "/")
        await call.read()
        await call.post(f"{MODELS}/e5/_infer", DOCS)
        await call.post(f"{MODELS}/e5/deployment/_infer", DOCS)
        await call("PUT", f"{MODELS}/mine", {"input": {"field_names": ["text_field"]}})
        await call.post(f"{MODELS}/big/deployment/_start?wait_for=starting&priority=low")
        await call.read()  # starting
        await call.wait(30.0)
        await call.read()
        started = {"number_of_allocations": 3, "cache_size": "0b", "wait_for": "fully_allocated"}
        await call.post(f"{MODELS}/mine/deployment/_start", started)
        await call.post(f"{MODELS}/mine/deployment/_update", {"number_of_allocations": 4})
        await call.read()
        await call.post(f"{MODELS}/mine/deployment/_update", {"number_of_allocations": 1})
        await call.wait(30.0)
        for allocations in (2, 1):
            settings = {"service_settings": {"num_allocations": allocations}}
            await call("PUT", "/_inference/text_embedding/e5/_update", settings)
        for settings in ({"num_allocations": 1}, {"adaptive_allocations": {"enabled": True}}):
            typed = {"task_type": "text_embedding", "service_settings": settings}
            await call("PUT", "/_inference/e5/_update", typed)
        for value in (1, None):
            settings = {"persistent": {"xpack.ml.max_lazy_ml_nodes": value}}
            await call("PUT", "/_cluster/settings", settings)
        await call.post(f"{MODELS}/mine/deployment/cache/_clear")
        await call.post("/_emulator/deployments/mine/load", {"kind": "steady", "rate_per_s": 60.0})
        await call.wait(90.0)
        await call.read()
        await call.post(f"{MODELS}/mine/deployment/_stop")
        await call.read()  # stopping, where queues are emptied first
        await call.wait(300.0)
        await call.post(f"{MODELS}/big/deployment/_stop?force=true")
        await call("DELETE", f"{MODELS}/mine")
        await call.post("/_ml/set_upgrade_mode?enabled=true")
        await call.read()
        return call.responses


async def _zero(version):
    """Adaptive allocations enabled, disabled, and none; and no allocations at all."""
    async with recorder_of(_scenario(version)) as call:
        if not call.behaviour.adaptive_allocations:
            return []
        bounds = {"min_number_of_allocations": 0, "max_number_of_allocations": 3}
        adaptive = {"adaptive_allocations": {"enabled": True, **bounds}}
        await call.post(f"{MODELS}/big/deployment/_start?timeout=2m", adaptive)
        await call.read()
        for settings in ({"enabled": False}, None, {"enabled": True, **bounds}):
            patch = {"adaptive_allocations": settings}
            await call.post(f"{MODELS}/big/deployment/_update", patch)
            await call.read()
        patch = {"service_settings": adaptive}
        await call("PUT", "/_inference/text_embedding/e5/_update", patch)
        name = "xpack.ml.trained_models.adaptive_allocations.scale_to_zero_time"
        await call("PUT", "/_cluster/settings", {"persistent": {name: "1m"}})
        for _ in range(40):
            await call.wait(60.0)
            if not call.es.cluster.deployments["big"].requested:
                break
        await call.read()
        await call.post(f"{MODELS}/big/_infer?timeout=60s", DOCS)
        await call.read()
        return call.responses


async def _failures(version):
    """Processes that end, nodes that are gone or silent, no licence, no master."""
    async with recorder_of(_scenario(version)) as call:
        for _ in range(4):
            await call.post("/_emulator/deployments/e5/crash")
            await call.read()
            await call.wait(60.0)
        await call.read()  # failed
        await call.post(f"{MODELS}/e5/deployment/_stop?force=true")
        await call.post(f"{MODELS}/big/deployment/_start?timeout=2m", {"number_of_allocations": 4})
        await call.post("/_emulator/conditions", {"can_grow": True})
        await call.post(f"{MODELS}/big/deployment/_update", {"number_of_allocations": 12})
        await call.read()  # only some allocations have room
        await call.post("/_emulator/nodes/ml-1/swallow?calls=1")
        await call.read()
        await call.post("/_emulator/nodes/ml-1/version?number=9.5.0")
        await call.read()
        await call.post(f"{MODELS}/e5/deployment/_start")
        await call("DELETE", "/_emulator/nodes/ml-1")
        await call.read()
        await call.post("/_emulator/conditions", {"licence_expired": True})
        await call.read()
        await call.post(f"{MODELS}/e5/deployment/_start")
        await call.post("/_emulator/conditions", {"master": False})
        await call("GET", "/_cluster/health?master_timeout=1s")
        return call.responses


async def _documents(version):
    """Documents of an index, from its creation to its end."""
    async with recorder_of(_scenario(version)) as call:
        await call("PUT", "/leases/_doc/a", {"holder": "one"})
        await call("GET", "/leases/_doc/a")
        await call("GET", "/leases/_doc/b")
        await call.post("/leases/_doc/a?if_seq_no=0&if_primary_term=1", {"holder": "two"})
        await call.post("/leases/_doc/a?if_seq_no=0&if_primary_term=1", {"holder": "three"})
        await call("PUT", "/leases/_create/b", {"holder": "one"})
        await call.post("/leases/_create/c", {"holder": "one"})
        await call.post("/leases/_create/c", {"holder": "two"})
        await call("DELETE", "/leases/_doc/c?if_seq_no=0&if_primary_term=1")
        await call("DELETE", "/leases/_doc/c")
        await call("DELETE", "/leases/_doc/c")
        await call.bulk("PUT", "/leases/_bulk", {"delete": {"_id": "absent"}})
        await call.bulk(
            "POST",
            "/leases/_bulk",
            {"index": {"_id": "a", "if_seq_no": 1, "if_primary_term": 1}},
            {"holder": "four"},
            {"create": {"_id": "a"}},
            {"holder": "five"},
            {"delete": {"_id": "absent"}},
        )
        await call.post("/leases/_mget", {"ids": ["a", "absent"]})
        await call("GET", "/nowhere/_mget", {"ids": ["a"]})
        await call("PUT", "/leases", {"mappings": {"dynamic": False}})
        await call("PUT", "/created", {"mappings": {"dynamic": False}})
        await call("DELETE", "/leases")
        await call("DELETE", "/leases")
        await call("GET", "/leases/_doc/a")
        return call.responses


async def _errors(version):
    async with recorder_of(_scenario(version)) as call:
        for method, path, body in ERRORS:
            await call(method, path, body)
        await call("DELETE", f"{MODELS}/e5")
    broken = ScenarioEndpoint(inference_id="broken", deployment_id="e5", broken=True)
    if not call.behaviour.inference_api:
        return call.responses
    async with recorder_of(_scenario(version, endpoints=[broken])) as also:
        await also("GET", "/_inference/_all")
        return call.responses + also.responses


async def _security(version):
    """The same with users, and what only exists with users."""
    settings = SecuritySettings(accounts=ACCOUNTS)
    on_index = {"names": ["autoscaler-leases"], "privileges": ["read", "index"]}
    requested = {"cluster": ["monitor_ml", "manage_ml"], "index": [on_index]}
    found = []
    for credentials in ("Basic cm9vdDpzZWNyZXQ=", "ApiKey azE6a2V5", "Bearer t"):
        headers = {"Authorization": credentials}
        async with recorder_of(_scenario(version, security=settings), headers) as call:
            await call("GET", "/_security/_authenticate")
            await call("POST", "/_security/user/_has_privileges", requested)
            await call("GET", "/_security/user/_has_privileges", requested)
            await call("POST", "/_security/user/_has_privileges", {"cluster": ["nothing"]})
            await call.read()
            await call("GET", "/", auth="root:wrong")
            await call("GET", "/_nodes", auth="viewer:secret")
            await call("POST", f"{MODELS}/e5/deployment/_stop", auth="viewer:secret")
            found.extend(call.responses)
    return found
