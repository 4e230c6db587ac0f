"""A daemon whose cluster responds with damaged statistics and damaged everything else.

`python -m tests.fuzzing.statistics --bodies 100000 --seed 1` reads as many bodies. A failure names
the seed that repeats it.
"""

import argparse
import asyncio
import io
import json
import random
import sys
from base64 import b64encode
from collections import Counter
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from structlog.testing import capture_logs

from autoscaler.adapters.admin_http.decisions import DecisionRecorder, NoObservationYet
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.adapters.elasticsearch.preflight import inspect
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.logs import LogRecorder
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.composite_recorder import CompositeRecorder
from autoscaler.connection import ApiKey, Connection
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import Mode
from autoscaler.explain import render
from autoscaler.wire.decision_views import DeploymentsResponse
from benchmarks import payload
from tests.adapters.elasticsearch.servers import PRODUCT, serving
from tests.fakes import FakeClock
from tests.fuzzing.bodies import Damage, odd_values
from tests.observations import policy, rule

SECRET = b64encode(b"VuaCfGcBCdbkQmVe5aOx:ui2lp2ax/TNmsyakw9tv+Nnw").decode()
PLANTED = (SECRET.rstrip("="), "ui2lp2ax/TNmsyakw9tv+Nnw", "ui2lp2ax%2FTNmsyakw9tv%2BNnw")
ODD = odd_values(SECRET)
BODIES_OF_A_SEED = 20
DEPLOYMENTS, NODES = 3, 2
MAX_ALLOCATIONS = 9


class OddCluster:
    """Damages every response; `updates` has the bodies that it has received."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._requests: Counter[str] = Counter()
        self.updates: list[dict[str, Any]] = []
        self.bodies = 0
        self.cycle = 0

    async def respond(self, request: web.Request) -> web.Response:
        if request.method == "POST" and request.path.endswith("/_update"):
            self.updates.append(await request.json())
        document = self._document(request.path)
        # Of several requests at once, any may arrive first.
        self._requests[request.path] += 1
        damage = Damage(f"{self._seed} {request.path} {self._requests[request.path]}", ODD)
        status = damage.status()
        if status != 200:
            reason = f"refused: {dict(request.headers)} {request.path_qs}"
            document = {"error": {"type": "status_exception", "reason": reason}, "status": status}
        headers = dict(PRODUCT) if damage.is_elasticsearch() else {}
        return web.Response(
            body=damage.body(document),
            status=status,
            headers=headers,
            content_type="application/json",
        )

    def _document(self, path: str) -> Any:
        name = f"model-{self.cycle % DEPLOYMENTS:04d}"
        match path:
            case "/_ml/trained_models/_stats":
                self.bodies += 1
                return json.loads(payload.stats(DEPLOYMENTS, NODES, self.cycle))
            case "/":
                return {"name": "n", "cluster_name": "c", "version": {"number": "9.1.0"}}
            case "/_ml/info":
                return {"upgrade_mode": False, "limits": {"total_ml_processors": 32}}
            case "/_inference/_all":
                settings = {"num_allocations": 2, "deployment_id": name}
                found = {"inference_id": name, "service": "elasticsearch"}
                return {"endpoints": [{**found, "service_settings": settings}]}
            case "/_ingest/pipeline":
                processor = {"inference": {"model_id": name}}
                return {"p": {"processors": [processor]}}
            case "/_nodes/ml:true" | "/_ml/memory/_stats":
                node = {"name": "ml-0", "version": "9.1.0", "roles": ["ml"], "attributes": {}}
                node["mem"] = {"ml": {"max_in_bytes": 2**33, "native_inference_in_bytes": 2**30}}
                return {"nodes": {f"q1W2e3R4t5Y6u7I8o9P{n:03d}": node for n in range(NODES)}}
        task = {"model_id": name, "deployment_id": name, "number_of_allocations": 2}
        return {"assignment": {"task_parameters": task, "assignment_state": "started"}}


async def outputs_of(seed: int, bodies: int = BODIES_OF_A_SEED) -> tuple[str, OddCluster]:
    """All that a daemon writes while it reads so many damaged statistics."""
    cluster, clock = OddCluster(seed), FakeClock(start=1_760_000_000.0)
    rules = policy(
        rule(name="direct", deployments=("*0", "*2"), max_allocations=MAX_ALLOCATIONS),
        rule(mode=Mode.BOUNDS, max_allocations=MAX_ALLOCATIONS, blind_allocations=5),
    )
    written = []
    connection = {"auth": ApiKey(SECRET), "retries": 0}
    with capture_logs() as log:
        async with (
            serving(cluster.respond) as server,
            Transport(
                Connection(hosts=(server.url.rstrip("/"),), **connection),
                clock,
                random.Random(seed),
            ) as transport,
        ):
            api = ElasticsearchApi(transport)
            observed = ElasticsearchCluster(api, clock)
            decisions, metrics = DecisionRecorder(clock, "1"), PrometheusRecorder(clock)
            registry = CollectorRegistry()
            registry.register(metrics)
            loop = ControlLoop(
                clock=clock,
                observer=observed,
                actuator=observed,
                recorder=CompositeRecorder(LogRecorder(), metrics, decisions),
                ruleset=rules,
            )
            while cluster.bodies < bodies:
                cluster.cycle += 1
                clock.pass_by(min(await loop.run_cycle(), 60.0))
            written.append(repr((await inspect(api)).problems))
            await observed.close()
            written.append(generate_latest(registry).decode())
            written.append(_decisions(decisions))
    written += [json.dumps(line, default=repr) for line in log]
    return "\n".join(written), cluster


def _decisions(recorder: DecisionRecorder) -> str:
    """What /decisions and `explain` show."""
    try:
        body = msgspec.json.encode(recorder.list_deployments())
    except NoObservationYet as error:
        return str(error)
    shown = io.StringIO()
    decoded = msgspec.json.decode(body, type=DeploymentsResponse)
    render(decoded, Console(file=shown, width=300))
    return f"{body.decode()}\n{shown.getvalue()}"


async def check(seed: int, bodies: int = BODIES_OF_A_SEED) -> None:
    """
    Raises:
        AssertionError: a planted secret is shown, or an update is outside its bounds.
    """
    output, cluster = await outputs_of(seed, bodies)
    assert not [secret for secret in PLANTED if secret in output]
    for update in cluster.updates:
        numbers = [
            update.get("number_of_allocations"),
            *(update.get("adaptive_allocations") or {}).values(),
        ]
        for number in numbers:
            if number is not None and not isinstance(number, bool):
                assert 1 <= number <= MAX_ALLOCATIONS, update


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=100_000, help="statistics to read")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + -(-given.bodies // BODIES_OF_A_SEED))
    for seed in seeds:
        try:
            asyncio.run(check(seed))
        except Exception:
            print(f"seed {seed} fails; repeat it with --seed {seed} --bodies 1", file=sys.stderr)
            raise
    print(f"{len(seeds) * BODIES_OF_A_SEED} bodies, seeds {seeds[0]} to {seeds[-1]}: no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main())
