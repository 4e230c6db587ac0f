"""Every response of the emulator has the fields that Elastic publishes, with their types.

The types are those of its JavaScript client, the npm package @elastic/elasticsearch, in the last
release for each minor version. package.json names these releases, and `make test` installs them.
"""

import json
import re
import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp.test_utils import make_mocked_request

from autoscaler.simulation.emulator.application import build_application
from autoscaler.simulation.emulator.building import build_emulation
from autoscaler.simulation.scenario import SecuritySettings
from autoscaler.simulation.version_facts import release_of
from tests.published_types.situations import ACCOUNTS, responses_of
from tests.simulation.emulator.conftest import scenario
from tests.virtual_clock import VirtualClock

HERE = Path(__file__).parent
VERSIONS = [*(f"8.{minor}" for minor in range(6, 20)), *(f"9.{minor}" for minor in range(6))]
WITHOUT_RELEASE = {"8.7": "8.6", "serverless": "9.5"}
"""Versions without a release of their own in npm, and the release whose types hold for them."""

MODELS = "/_ml/trained_models"
DEPLOYMENT = f"POST {MODELS}/{{id}}/deployment"

# The endpoints with each type. Of several names, the first that a release has counts.
ENDPOINTS_OF_TYPE = {
    "BulkResponse": ["POST /{index}/_bulk", "PUT /{index}/_bulk"],
    "ClusterGetSettingsResponse": ["GET /_cluster/settings"],
    "ClusterHealthResponse": ["GET /_cluster/health"],
    "ClusterPutSettingsResponse": ["PUT /_cluster/settings"],
    "CreateResponse": ["POST /{index}/_create/{id}", "PUT /{index}/_create/{id}"],
    "DeleteResponse": ["DELETE /{index}/_doc/{id}"],
    "GetResponse": ["GET /{index}/_doc/{id}"],
    "IndexResponse": ["POST /{index}/_doc/{id}", "PUT /{index}/_doc/{id}"],
    "IndicesCreateResponse": ["PUT /{index}"],
    "IndicesDeleteResponse": ["DELETE /{index}"],
    "InferenceGetResponse InferenceGetModelResponse": [
        "GET /_inference",
        "GET /_inference/_all",
        "GET /_inference/{inference_id}",
        "GET /_inference/{task_type}/_all",
        "GET /_inference/{task_type}/{inference_id}",
    ],
    "InferenceUpdateResponse": [
        "PUT /_inference/{inference_id}/_update",
        "PUT /_inference/{task_type}/{inference_id}/_update",
    ],
    "InfoResponse": ["GET /"],
    "IngestGetPipelineResponse": ["GET /_ingest/pipeline"],
    "LicenseGetResponse": ["GET /_license"],
    "MgetResponse": ["GET /{index}/_mget", "POST /{index}/_mget"],
    "MlClearTrainedModelDeploymentCacheResponse": [f"{DEPLOYMENT}/cache/_clear"],
    "MlDeleteTrainedModelResponse": [f"DELETE {MODELS}/{{model_id}}"],
    "MlGetMemoryStatsResponse": ["GET /_ml/memory/_stats", "GET /_ml/memory/{filter}/_stats"],
    "MlGetTrainedModelsResponse": [f"GET {MODELS}", f"GET {MODELS}/{{ids}}"],
    "MlGetTrainedModelsStatsResponse": [f"GET {MODELS}/_stats", f"GET {MODELS}/{{ids}}/_stats"],
    "MlInferTrainedModelResponse": [f"POST {MODELS}/{{id}}/_infer"],
    "MlInfoResponse": ["GET /_ml/info"],
    "MlPutTrainedModelResponse": [f"PUT {MODELS}/{{model_id}}"],
    "MlSetUpgradeModeResponse": ["POST /_ml/set_upgrade_mode"],
    "MlStartTrainedModelDeploymentResponse": [f"{DEPLOYMENT}/_start"],
    "MlStopTrainedModelDeploymentResponse": [f"{DEPLOYMENT}/_stop"],
    # `_start` has the same response in the server, and its type was published earlier.
    "MlUpdateTrainedModelDeploymentResponse MlStartTrainedModelDeploymentResponse": [
        f"{DEPLOYMENT}/_update"
    ],
    "NodesInfoResponse": ["GET /_nodes", "GET /_nodes/{filter}", "GET /_nodes/{filter}/{metric}"],
    "SecurityAuthenticateResponse": ["GET /_security/_authenticate"],
    "SecurityHasPrivilegesResponse": [
        "GET /_security/user/_has_privileges",
        "POST /_security/user/_has_privileges",
    ],
    "XpackInfoResponse": ["GET /_xpack"],
}
TYPES = {
    endpoint: names.split()
    for names, endpoints in ENDPOINTS_OF_TYPE.items()
    for endpoint in endpoints
}
ERROR = ["ErrorResponseBase"]

ALWAYS_REFUSED = {"8.17": {"PUT /_inference/{inference_id}/_update"}}
"""Endpoints that are registered, and refuse every request: 8.17 requires the type in the path."""

UNTYPED = {
    "HEAD /": "has no body",
    f"{DEPLOYMENT}/_infer": "was deprecated before the first of these releases",
}

# Endpoints that begin so have no type in the releases from the first to before the second.
UNPUBLISHED = [
    (f"{DEPLOYMENT}/cache/_clear", "8.6", "8.8"),
    ("GET /_inference", "8.11", "8.12"),
]


class Mistake(NamedTuple):
    """Where the published types of some releases are wrong about the server."""

    since: str
    until: str  # the first release without the mistake; "": the newest has it
    kind: str
    path: str  # a regular expression
    why: str


_STATS = r"\.trained_model_stats\[\]\.deployment_stats"
MISTAKES = [
    Mistake(
        "8.6",
        "8.17",
        "missing",
        rf"{_STATS}\.(error|inference|rejected_execution|timeout)_count",
        "the server omits counts that are zero (AssignmentStats.java)",
    ),
    Mistake(
        "8.6",
        "8.17",
        "missing",
        rf"{_STATS}\.reason",
        "the server omits the reason where there is none (AssignmentStats.java)",
    ),
    Mistake(
        "8.6",
        "8.16",
        "wrong",
        rf"{_STATS}\.state",
        "the states of allocations instead of those of a deployment (AssignmentState.java)",
    ),
    Mistake(
        "8.6",
        "8.15",
        "wrong",
        rf"{_STATS}\.nodes",
        "one node instead of a list of nodes, which the REST tests of the server have",
    ),
    Mistake(
        "8.15",
        "8.17",
        "missing",
        rf"{_STATS}\.nodes\[\]\.(node\.)?\w+",
        "nodes are named by their ids, have figures only when their processes are ready, and "
        "counts only above zero; `rejection_execution_count` is misspelt (AssignmentStats.java)",
    ),
    Mistake(
        "8.15",
        "8.18",
        "missing",
        rf"{_STATS}\.nodes\[\]\.routing_state\.(\w+_allocations|reason)",
        "the routing table has them; statistics have the state, and the reason if there is one "
        "(RoutingStateAndReason.java)",
    ),
    Mistake(
        "8.6",
        "",
        "wrong",
        r"\.error",
        "a text where there is no handler for a path or a method (RestController.java)",
    ),
]


class Exchange(NamedTuple):
    endpoint: str  # method and path, "GET /_nodes/{filter}"; "": there is none
    status: int
    document: object

    @property
    def is_error(self) -> bool:
        """Otherwise a response of its type: that a document is absent is a 404, and no error."""
        return self.status >= 400 and "found" not in self.document and "result" not in self.document


class Fault(NamedTuple):
    """A field of a response that is not as published."""

    endpoint: str
    kind: str  # "missing" or "wrong"
    path: str
    expected: str


def _application(version):
    security = SecuritySettings(accounts=ACCOUNTS)
    emulated = scenario(version=version, deployments=[], security=security)
    return build_application(build_emulation(emulated, VirtualClock()))


def _endpoints(version):
    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in _application(version).router.routes()
    }
    return {endpoint for endpoint in routes if "/_emulator/" not in endpoint}


async def _exchanges(version):
    router = _application(version).router
    exchanges = []
    for method, path, response in await responses_of(version):
        resource = (await router.resolve(make_mocked_request(method, path))).route.resource
        endpoint = "" if resource is None else f"{method} {resource.canonical}"
        exchanges.append(Exchange(endpoint, response.status, response.document))
    return exchanges


def _faults(version, exchanges):
    """The faults of responses, and the endpoints of which the release has no type."""
    typed = [
        (exchange, ERROR if exchange.is_error else TYPES[exchange.endpoint])
        for exchange in exchanges
        if exchange.endpoint not in UNTYPED or exchange.is_error
    ]
    checked = subprocess.run(
        [_node(), HERE / "check.mjs", f"types-{WITHOUT_RELEASE.get(version, version)}"],
        input=json.dumps([(names, exchange.document) for exchange, names in typed]),
        capture_output=True,
        text=True,
        check=True,
    )
    found, untyped = [], set()
    for (exchange, _), faults in zip(typed, json.loads(checked.stdout), strict=True):
        if faults is None:
            untyped.add(exchange.endpoint)
        found += [Fault(endpoint=exchange.endpoint, **fault) for fault in faults or ()]
    return found, untyped


@cache
def _node():
    """The command `node`, with the packages beside this test; otherwise the test is skipped."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node and npm, by which `make test` installs the published types")
    if not (HERE / "node_modules").exists():
        pytest.skip("needs the published types, which `make test` installs")
    return node


def _holds(version, since, until):
    release = release_of(WITHOUT_RELEASE.get(version, version))
    return release_of(since) <= release and (not until or release < release_of(until))


@pytest.mark.parametrize("version", [*VERSIONS, "serverless"])
async def test_responses_have_the_published_fields_and_types(version):
    _node()
    exchanges = await _exchanges(version)
    endpoints = _endpoints(version)
    # 410: serverless does not have it.
    responding = {each.endpoint for each in exchanges if each.status in (200, 201, 410)}
    assert endpoints - ALWAYS_REFUSED.get(version, set()) == responding

    faults, untyped = _faults(version, exchanges)
    mistakes = [mistake for mistake in MISTAKES if _holds(version, mistake.since, mistake.until)]
    explained = {
        fault: mistake
        for fault in faults
        for mistake in mistakes
        if fault.kind == mistake.kind and re.fullmatch(mistake.path, fault.path)
    }
    assert Counter(fault for fault in faults if fault not in explained) == {}
    assert set(explained.values()) == set(mistakes), "a listed mistake does not show"
    assert untyped == {
        endpoint
        for endpoint in endpoints
        for prefix, since, until in UNPUBLISHED
        if endpoint.startswith(prefix) and _holds(version, since, until)
    }
