"""A cluster with scripted responses: those of a field case, and plain ones for the rest.

A case is a dict. Its key `answers` has the responses: of kind "stats" the successive ones of
`_stats`, `every_s` apart; of kind "http" one, or a list of successive ones, for each
`METHOD /path`. A response has a `status` and a `body`, optionally `after_s`, `headers`, and a
`note` such as "inference_count grows by 10 every 10 s". After the last response, counters grow as
before.
"""

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

STATS = "/_ml/trained_models/_stats"
CHANGES = ("*/_update", "*/_start", "*/_stop")
VERSION = "9.2.3"

_COUNTERS = (
    "inference_count",
    "inference_cache_hit_count",
    "error_count",
    "rejected_execution_count",
    "timeout_count",
)
_GROWS = re.compile(r"(\w+) grows by (\d+) every (\d+) s")
_GIB = 2**30

Json = dict[str, Any]


class Request(NamedTuple):
    """One request, and when it arrived, in seconds after the start."""

    at: float
    method: str
    path: str
    body: Json

    @property
    def changes_something(self) -> bool:
        return self.method != "GET" and any(fnmatchcase(self.path, each) for each in CHANGES)


class FieldCluster:
    """The responses of one case, by the time since the start of the loop."""

    def __init__(self, case: Json) -> None:
        self.case = case
        self.requests: list[Request] = []
        self.given: list[tuple[float, Json]] = []  # the statistics that were sent, and when
        self._calls: dict[str, int] = {}

    @property
    def version(self) -> str:
        return self.case.get("version", VERSION)

    @property
    def changes(self) -> list[Request]:
        return [request for request in self.requests if request.changes_something]

    def paths(self, path: str) -> list[Request]:
        """The requests whose method and path match a pattern, such as `POST */_start`."""
        return [
            request
            for request in self.requests
            if fnmatchcase(f"{request.method} {request.path}", path)
        ]

    async def respond(self, request: web.Request) -> web.StreamResponse:
        at = asyncio.get_running_loop().time()
        body = await request.read()
        received = Request(at, request.method, request.path, json.loads(body) if body else {})
        self.requests.append(received)
        answer = self._scripted(received)
        if answer is None:
            answer = self._plain(received)
        await asyncio.sleep(answer.get("after_s", 0.0))
        if request.path == STATS and answer.get("status", 200) == 200:
            self.given.append((at, answer["body"]))
        document = answer.get("body", {})
        return web.Response(
            text=document if isinstance(document, str) else json.dumps(document),
            status=answer.get("status", 200),
            content_type=answer.get("content_type", "application/json"),
            headers={"X-Elastic-Product": "Elasticsearch", **answer.get("headers", {})},
        )

    # Responses of the case

    def _scripted(self, request: Request) -> Json | None:
        if not self._is_http:
            is_stats = request.method == "GET" and request.path == STATS
            return {"body": self._statistics(request.at)} if is_stats else None
        key = f"{request.method} {request.path}"
        for pattern, answers in self.case["answers"].items():
            if not fnmatchcase(key, pattern.partition("?")[0]):
                continue
            calls = self._calls[key] = self._calls.get(key, 0) + 1
            successive = answers if isinstance(answers, list) else [answers]
            answer = successive[min(calls, len(successive)) - 1]
            return {**answer, "body": _noted(answer, request.at)}
        return None

    def _statistics(self, at: float) -> Json:
        answers, every_s = self.case["answers"], self.case["every_s"]
        index = int(at / every_s + 1e-6)
        if index < len(answers):
            return answers[index]
        if len(answers) == 1:
            return answers[0]
        return _continued(answers[-2], answers[-1], index - len(answers) + 1)

    # Responses of any cluster

    def _plain(self, request: Request) -> Json:
        match request.method, request.path:
            case "GET", "/":
                flavour = self.case.get("build_flavor", "default")
                number = {"number": self.version, "build_flavor": flavour}
                return _ok(cluster_name="field", version=number)
            case "GET", "/_license":
                return _ok(license={"status": "active", "type": "enterprise"})
            case "GET", "/_security/_authenticate":
                return _ok(username="autoscaler", authentication_type="api_key")
            case "POST", "/_security/user/_has_privileges":
                asked = dict.fromkeys(request.body.get("cluster", []), True)
                return _ok(username="autoscaler", has_all_requested=True, cluster=asked)
            case "GET", "/_ml/info":
                return _ok(upgrade_mode=False, limits=self._limits())
            case "GET", "/_ml/memory/_stats" if self._shows_nodes:
                return _ok(nodes={id_: self._memory(id_) for id_ in self._nodes()})
            case "GET", path if path.startswith("/_nodes") and self._shows_nodes:
                return _ok(nodes=self._nodes())
            case "GET", "/_inference/_all":
                return _ok(endpoints=[])
            case "GET", path if path.startswith("/_ingest/pipeline"):
                return _ok()
            case "PUT", path if path.endswith("/_update"):
                return self._endpoint_update(request)
            case "POST", path if path.endswith("/_stop"):
                return _ok(stopped=True)
            case "POST", path if path.endswith(("/_update", "/_start")):
                return self._deployment_update(request)
        reason = f"no handler found for uri [{request.path}] and method [{request.method}]"
        return _refused(400, "illegal_argument_exception", reason)

    @property
    def _is_http(self) -> bool:
        return self.case["kind"] == "http"

    @property
    def _shows_nodes(self) -> bool:
        return self.case.get("build_flavor") != "serverless"

    def _limits(self) -> Json:
        cluster = self.case.get("cluster", {})
        if cluster.get("growable") is not False:
            return {}
        return {"total_ml_processors": sum(node["processors"] for node in cluster["nodes"])}

    def _described(self) -> dict[str, Json]:
        return {node["node_id"]: node for node in self.case.get("cluster", {}).get("nodes", [])}

    def _nodes(self) -> dict[str, Json]:
        described = self._described()
        named = {
            id_: node.get("name", id_)
            for statistics in self._all_statistics()
            for id_, node in _nodes_in(statistics)
        }
        nodes = {
            id_: {
                "name": name,
                "version": self.version,
                "roles": ["ml"],
                "attributes": {
                    "ml.allocated_processors_double": str(
                        float(described.get(id_, {}).get("processors", 32.0))
                    )
                },
            }
            for id_, name in (named | {id_: id_ for id_ in described}).items()
        }
        for id_, node in self.case.get("nodes", {}).items():
            nodes[id_] = {"version": self.version, **node}
        return nodes

    def _memory(self, id_: str) -> Json:
        node = self._described().get(id_, {})
        most = node.get("ml_memory_bytes", 512 * _GIB)
        free = node.get("free_ml_memory_bytes", most)
        ml = {"max_in_bytes": most, "native_inference_in_bytes": most - free}
        return {"name": self._nodes()[id_]["name"], "roles": ["ml"], "mem": {"ml": ml}}

    def _all_statistics(self) -> Iterator[Any]:
        answers = self.case["answers"]
        if self.case["kind"] == "stats":
            yield from answers
        else:
            for pattern, answer in answers.items():
                if pattern.partition("?")[0] == f"GET {STATS}":
                    yield from (
                        each.get("body")
                        for each in (answer if isinstance(answer, list) else [answer])
                    )

    def _endpoint_update(self, request: Request) -> Json:
        task_type, inference_id = request.path.split("/")[2:4]
        return _ok(
            inference_id=inference_id,
            task_type=task_type,
            service="elasticsearch",
            service_settings=request.body.get("service_settings", {}),
        )

    def _deployment_update(self, request: Request) -> Json:
        id_ = request.path.split("/")[3]
        listed = self.case["answers"].get("GET /_inference/_all") if self._is_http else None
        body = listed.get("body") if isinstance(listed, dict) else None
        endpoints = body.get("endpoints") if isinstance(body, dict) else None
        owned = any(found.get("inference_id") == id_ for found in endpoints or [])
        if owned and self.version.startswith("9."):
            reason = f"[{id_}] was created by inference endpoint [{id_}]"
            return _refused(409, "status_exception", reason)
        return _ok(
            assignment={
                "task_parameters": {"model_id": id_, "deployment_id": id_},
                "routing_table": {},
                "assignment_state": "started",
            }
        )


@asynccontextmanager
async def serving(case: Json) -> AsyncIterator[tuple[FieldCluster, str]]:
    """The scripted cluster and its address."""
    cluster = FieldCluster(case)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", cluster.respond)
    async with TestServer(application, host="127.0.0.1") as server:
        yield cluster, str(server.make_url("")).rstrip("/")


def deployments_in(statistics: Any) -> dict[str, Json]:
    """The `deployment_stats` of a response, by deployment id."""
    entries = statistics.get("trained_model_stats") if isinstance(statistics, dict) else None
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        stats = entry.get("deployment_stats") if isinstance(entry, dict) else None
        id_ = stats.get("deployment_id") or entry.get("model_id") if isinstance(stats, dict) else ""
        if isinstance(id_, str) and id_:
            found[id_] = stats
    return found


def _nodes_in(statistics: Any) -> Iterator[tuple[str, Json]]:
    for stats in deployments_in(statistics).values():
        for route in routes_of(stats):
            yield from _node_of(route).items()


def _ok(**body: Any) -> Json:
    return {"status": 200, "body": body}


def _refused(status: int, type_: str, reason: str) -> Json:
    error = {"type": type_, "reason": reason}
    return {"status": status, "body": {"error": {**error, "root_cause": [error]}, "status": status}}


def _noted(answer: Json, at: float) -> Any:
    """The body at an instant: its note names the counters that grow."""
    body = answer.get("body", {})
    found = _GROWS.search(answer.get("note", ""))
    if not found:
        return body
    name, growth, every_s = found[1], int(found[2]), int(found[3])
    by_route = int(at * growth / every_s)
    return _grown(body, lambda _, each, routes: routes * by_route if each == name else 0)


def _continued(before: Json, last: Json, steps: int) -> Json:
    """The last response `steps` intervals later: its counters grow as they did before it."""
    earlier = {key: holder for key, holder, _ in _holders(before)}
    later = {key: holder for key, holder, _ in _holders(last)}

    def growth(key: tuple[str, str], name: str, _routes: int) -> int:
        value, before_it = later[key][name], earlier.get(key, {}).get(name)
        return steps * max(0, value - before_it) if is_count(before_it) else 0

    return _grown(last, growth)


def _grown(statistics: Any, growth: Callable[[tuple[str, str], str, int], int]) -> Any:
    """The statistics with larger counters, by holder, name and number of routes in the holder."""
    grown = copy.deepcopy(statistics)
    for key, holder, routes in _holders(grown):
        for name in _COUNTERS:
            if is_count(holder.get(name)):
                holder[name] += growth(key, name, routes)
    return grown


def _holders(statistics: Any) -> Iterator[tuple[tuple[str, str], Json, int]]:
    """Everything with counters: deployments, and their routes by node."""
    for id_, stats in deployments_in(statistics).items():
        routes = routes_of(stats)
        yield (id_, ""), stats, len(routes)
        for index, route in enumerate(routes):
            yield (id_, next(iter(_node_of(route)), f"route {index}")), route, 1


def routes_of(stats: Json) -> list[Json]:
    routes = stats.get("nodes")
    return [each for each in routes if isinstance(each, dict)] if isinstance(routes, list) else []


def _node_of(route: Json) -> dict[str, Json]:
    node = route.get("node")
    named = node.items() if isinstance(node, dict) else ()
    return {id_: each for id_, each in named if isinstance(each, dict)}


def is_count(value: Any) -> bool:
    """Whether it can be read as a count."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
