"""The Leases of an API server of Kubernetes, on loopback, with conflicts and faults."""

import asyncio
import itertools

from aiohttp import web
from aiohttp.test_utils import TestServer

from autoscaler.adapters.kubernetes_lease import KubernetesAccess

NAMESPACE = "search"
PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
SPEC = {
    "holderIdentity": str,
    "leaseDurationSeconds": int,
    "acquireTime": str,
    "renewTime": str,
    "leaseTransitions": int,
}


class FakeKubernetes:
    """Enforces `resourceVersion`, as the API server does.

    `faults` are those of the next requests: a status, "reset before" or "reset after" the request
    is executed, or "hang".
    """

    def __init__(self, token="token-1"):
        self.objects = {}
        self.requests = []
        self.token = token
        self.faults = []
        self._versions = itertools.count(1000)
        self._end = asyncio.Event()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._respond)
        self._server = TestServer(application, host="127.0.0.1")

    async def start(self):
        await self._server.start_server()

    async def stop(self):
        self._end.set()
        await self._server.close()

    def access(self, directory):
        """The access with a file for the token."""
        token_file = directory / "token"
        token_file.write_text(self.token)
        url = str(self._server.make_url("/")).rstrip("/")
        return KubernetesAccess(url=url, namespace=NAMESPACE, token_file=token_file)

    def edit(self, name, **parts):
        """Change an object, as with kubectl edit."""
        self.objects[name] = self._versioned({**self.objects[name], **parts})

    async def _respond(self, request):
        body = await request.read()
        self.requests.append((request.method, request.path, body))
        fault = self.faults.pop(0) if self.faults else None
        if fault == "hang":
            await self._end.wait()
        if fault == "reset before":
            request.transport.abort()
            return web.Response()
        if isinstance(fault, int):
            return web.json_response({"kind": "Status", "message": "fault"}, status=fault)
        response = await self._executed(request)
        if fault == "reset after":
            request.transport.abort()
        return response

    async def _executed(self, request):
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        name = request.path.removeprefix(PATH).strip("/")
        if not request.path.startswith(PATH):
            return _status(404, "NotFound", "the server could not find the requested resource")
        if request.method == "POST" and not name:
            return self._create(await request.json())
        if name not in self.objects:
            return _status(404, "NotFound", f'leases.coordination.k8s.io "{name}" not found')
        if request.method == "GET":
            return web.json_response(self.objects[name])
        if request.method == "PUT":
            return self._replace(name, await request.json())
        return _status(405, "MethodNotAllowed", "not allowed")

    def _create(self, given):
        name = given["metadata"]["name"]
        if name in self.objects:
            return _status(
                409, "AlreadyExists", f'leases.coordination.k8s.io "{name}" already exists'
            )
        return self._store(name, given, 201)

    def _replace(self, name, given):
        found = self.objects[name]
        if given["metadata"].get("resourceVersion") != found["metadata"]["resourceVersion"]:
            return _status(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on leases.coordination.k8s.io "{name}": '
                "the object has been modified",
            )
        same = {**given["spec"]} == {**found["spec"]}
        return web.json_response(found) if same else self._store(name, given, 200)

    def _store(self, name, given, status):
        for key, value in given["spec"].items():
            if not isinstance(value, SPEC[key]):
                return _status(400, "BadRequest", f"cannot unmarshal {key}")
        self.objects[name] = self._versioned(given)
        return web.json_response(self.objects[name], status=status)

    def _versioned(self, given):
        metadata = {**given["metadata"], "resourceVersion": str(next(self._versions))}
        return {**given, "metadata": metadata}


def _status(code, reason, message):
    return web.json_response(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        },
        status=code,
    )
