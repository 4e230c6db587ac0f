"""A cluster for the measurement of load: statistics that advance with time, and updates that take
effect at once.

It computes no queues: each deployment completes what arrives. Its nodes are larger than any real
ones, so that all deployments fit on them.
"""

import os
import time
from collections.abc import Callable

import msgspec
import numpy as np
from aiohttp import web
from msgspec import Struct

from autoscaler.wire.cluster import (
    AuthenticateResponse,
    HasPrivilegesResponse,
    InfoResponse,
    LicenseDocument,
    LicenseResponse,
    MemoryOfNode,
    MemoryResponse,
    MlInfoResponse,
    MlLimits,
    MlMemory,
    NodeInfo,
    NodeMemoryDocument,
    NodesResponse,
    VersionDocument,
)
from autoscaler.wire.deployments import (
    AssignmentDocument,
    AssignmentResponse,
    TaskParameters,
    UpdateRequest,
)
from autoscaler.wire.stats_document import (
    AllocationStatus,
    ModelDocument,
    NodeDocument,
    StatsDocument,
)
from benchmarks.payload import EPOCH_MS, model, node_id

SERVICE_TIME_S = 0.04
MIN_LOAD, MAX_LOAD = 8.0, 14.0  # erlangs of a deployment
JUMP_INTERVAL_S = 60.0
JUMPING = 0.01
"""The fraction of the deployments whose load changes at each `JUMP_INTERVAL_S`."""

VERSION = "9.1.0"
NODE_BYTES = 2**50
NODE_PROCESSORS = 100_000
PROCESS_BYTES = 180_000_000.0
PRIVILEGES = ("monitor_ml", "manage_ml", "monitor", "monitor_inference", "manage_inference")
NOT_FOUND = b'{"error": "none", "status": 404}'


class Received(Struct, frozen=True):
    """The requests that the cluster has received."""

    polled_at: tuple[float, ...]  # in seconds, of the first page
    requested: tuple[int, ...]  # allocations, by update


class LoadCluster:
    """Deployments with Poisson arrivals, each on all nodes, as where each node is the only one of
    its availability zone.

    Args:
        now: returns the time in seconds.
    """

    def __init__(self, deployments: int, nodes: int, now: Callable[[], float], seed: int) -> None:
        self._now = now
        self._random = np.random.default_rng(seed)
        self._nodes = nodes
        self._models = [_idle(model(index, nodes, 0)) for index in range(deployments)]
        self._numbers = {each.model_id: number for number, each in enumerate(self._models)}
        self._loads = self._random.uniform(MIN_LOAD, MAX_LOAD, deployments)
        self._jump_at = now() + JUMP_INTERVAL_S
        self._counted_at = np.full(deployments, now())
        self.polled_at: list[float] = []
        self.requested: list[int] = []

    def page(self, begin: int, size: int) -> bytes:
        """A page of the statistics as they are now."""
        now = self._now()
        if begin == 0:
            self.polled_at.append(now)
        self._let_loads_jump(now)
        models = self._models[begin : begin + size]
        end = begin + len(models)
        elapsed_s = now - self._counted_at[begin:end]
        self._counted_at[begin:end] = now
        expected = self._loads[begin:end] / SERVICE_TIME_S / self._nodes * elapsed_s
        arrivals = self._random.poisson(expected[:, None], (len(models), self._nodes))
        at_ms = EPOCH_MS + int(1000.0 * now)
        for each, counts in zip(models, arrivals.tolist(), strict=True):
            _complete(each, counts, at_ms)
        return msgspec.json.encode(
            StatsDocument(count=len(self._models), trained_model_stats=models)
        )

    def update(self, deployment_id: str, allocations: int) -> bytes:
        """Distribute the allocations over the nodes; the response to the update."""
        self.requested.append(allocations)
        changed = self._models[self._numbers[deployment_id]]
        assert changed.deployment_stats is not None
        changed.deployment_stats.number_of_allocations = allocations
        changed.deployment_stats.allocation_status = AllocationStatus(
            allocation_count=allocations,
            target_allocation_count=allocations,
            state="fully_allocated",
        )
        least, more = divmod(allocations, self._nodes)
        for number, node in enumerate(_nodes_of(changed)):
            node.number_of_allocations = least + (number < more)
        task = TaskParameters(
            model_id=deployment_id, deployment_id=deployment_id, number_of_allocations=allocations
        )
        return msgspec.json.encode(
            AssignmentResponse(
                assignment=AssignmentDocument(task_parameters=task, assignment_state="started")
            )
        )

    def _let_loads_jump(self, now: float) -> None:
        if now < self._jump_at:
            return
        self._jump_at = now + JUMP_INTERVAL_S
        count = round(JUMPING * len(self._models))
        jumping = self._random.choice(len(self._models), count, replace=False)
        self._loads[jumping] = self._random.uniform(MIN_LOAD, MAX_LOAD, count)


def _idle(deployment: ModelDocument) -> ModelDocument:
    """Without queues and cache hits; with the memory of its processes."""
    for node in _nodes_of(deployment):
        node.inference_cache_hit_count = node.number_of_pending_requests = 0
        node.average_inference_time_ms = 1000.0 * SERVICE_TIME_S
        node.average_inference_time_ms_excluding_cache_hits = 1000.0 * SERVICE_TIME_S
        node.average_inference_process_memory_rss_bytes = PROCESS_BYTES
    return deployment


def _nodes_of(deployment: ModelDocument) -> list[NodeDocument]:
    assert deployment.deployment_stats is not None
    return deployment.deployment_stats.nodes or []


def _complete(deployment: ModelDocument, counts: list[int], at_ms: int) -> None:
    assert deployment.deployment_stats is not None
    for node, count in zip(_nodes_of(deployment), counts, strict=True):
        node.inference_count = (node.inference_count or 0) + count
        node.last_access = at_ms
    deployment.deployment_stats.inference_count = (
        deployment.deployment_stats.inference_count or 0
    ) + sum(counts)


def node_documents(nodes: int) -> dict[str, Struct]:
    """The responses about the nodes, by path."""
    attributes = {
        "ml.machine_memory": str(NODE_BYTES),
        "ml.allocated_processors_double": str(NODE_PROCESSORS),
    }
    described = {
        node_id(number): NodeInfo(
            name=f"ml-{number}", version=VERSION, roles=["ml"], attributes=attributes
        )
        for number in range(nodes)
    }
    memory = MlMemory(
        max_in_bytes=NODE_BYTES // 2,
        native_code_overhead_in_bytes=0,
        anomaly_detectors_in_bytes=0,
        data_frame_analytics_in_bytes=0,
        native_inference_in_bytes=0,
    )
    measured = {
        each: MemoryOfNode(
            name=node.name,
            roles=node.roles,
            mem=NodeMemoryDocument(total_in_bytes=NODE_BYTES, ml=memory),
        )
        for each, node in described.items()
    }
    return {
        "/": InfoResponse(cluster_uuid="load", version=VersionDocument(number=VERSION)),
        "/_nodes/ml:true": NodesResponse(nodes=described),
        "/_ml/memory/_stats": MemoryResponse(nodes=measured),
        "/_ml/info": MlInfoResponse(
            upgrade_mode=False,
            limits=MlLimits(total_ml_processors=float(nodes * NODE_PROCESSORS)),
        ),
        "/_license": LicenseResponse(license=LicenseDocument(status="active", type="enterprise")),
        "/_security/_authenticate": AuthenticateResponse(username="autoscaler"),
        "/_security/user/_has_privileges": HasPrivilegesResponse(
            has_all_requested=True, cluster=dict.fromkeys(PRIVILEGES, True)
        ),
    }


def serve(deployments: int, nodes: int, port: int, processor: int) -> None:
    """Serve the cluster on a port of the loopback interface, with one processor of the machine."""
    os.sched_setaffinity(0, {processor})
    cluster = LoadCluster(deployments, nodes, time.monotonic, seed=1)
    documents = {
        path: msgspec.json.encode(document) for path, document in node_documents(nodes).items()
    }
    documents["/_inference/_all"] = b'{"endpoints": []}'

    async def statistics(request: web.Request) -> web.Response:
        return _json(cluster.page(int(request.query["from"]), int(request.query["size"])))

    async def update(request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=UpdateRequest).number_of_allocations
        assert isinstance(wanted, int)
        return _json(cluster.update(request.match_info["id"], wanted))

    async def received(_request: web.Request) -> web.Response:
        found = Received(tuple(cluster.polled_at), tuple(cluster.requested))
        return _json(msgspec.json.encode(found))

    async def other(request: web.Request) -> web.Response:
        document = documents.get(request.path)
        return _json(document or NOT_FOUND, 404 if document is None else 200)

    app = web.Application()
    app.router.add_get("/_ml/trained_models/_stats", statistics)
    app.router.add_post("/_ml/trained_models/{id}/deployment/_update", update)
    app.router.add_get("/received", received)
    app.router.add_route("*", "/{path:.*}", other)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


def _json(body: bytes, status: int = 200) -> web.Response:
    headers = {"X-Elastic-Product": "Elasticsearch"}
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
