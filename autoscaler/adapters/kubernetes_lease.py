"""The lease as a Lease of Kubernetes, through the API server of the own cluster.

A request needs the verbs `get`, `create` and `update` for `leases` in one namespace. The token of
the service account rotates and is read for each request.
"""

import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from msgspec import Struct

from autoscaler import __version__
from autoscaler.client_sockets import client_session
from autoscaler.connection import secret_of
from autoscaler.core.election import Lease, StoredLease
from autoscaler.errors import UserError
from autoscaler.files import read_regular
from autoscaler.http_errors import no_response_because
from autoscaler.masking import SecretMask
from autoscaler.ports import LeaseConflict, LeaseDenied, LeaseUnavailable
from autoscaler.wire.bounds import shortened
from autoscaler.wire.kubernetes_lease import (
    UnreadableObject,
    encode_kubernetes_lease,
    parse_lease,
)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts the token, the certificate authority and the namespace of a pod."""

MAX_BODY_BYTES = 2**20
"""Maximum size of a response, and of the file of authorities, in bytes. A Lease has less than 2
kB, and an authority about as much."""

MAX_NAMESPACE_BYTES = 1024
"""Maximum size of the file with the namespace. A name has at most 63 characters."""

MAX_CONNECT_S = 3.0
"""Maximum seconds for connecting. The elector limits the whole request."""


_DENIED = frozenset({401, 403})


class NotInKubernetes(UserError):
    """The process does not run in a pod with a service account."""


class KubernetesAccess(Struct, frozen=True, kw_only=True):
    """How to reach the API server. Without `token_file` no credentials are sent, and without
    `ca_file` the system's authorities are trusted."""

    url: str  # such as https://10.0.0.1:443
    namespace: str
    token_file: Path | None = None
    ca_file: Path | None = None


def pod_access(
    environment: Mapping[str, str],
    namespace: str | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> KubernetesAccess:
    """The access that a pod has.

    Args:
        namespace: of the lease; None: that of the pod.

    Raises:
        NotInKubernetes: this process has none.
    """
    host, port = (environment.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    token = service_account / "token"
    if not host or not port or not token.exists():
        raise NotInKubernetes(
            'lease = "kubernetes" works only in a pod whose service account token is mounted; set '
            "automountServiceAccountToken: true, or use another lease"
        )
    if namespace is None:
        try:
            content = read_regular(service_account / "namespace", MAX_NAMESPACE_BYTES)
            namespace = content.decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotInKubernetes(
                f"the namespace of the pod cannot be read: {error}; set namespace in [leadership]"
            ) from error
    bracketed = f"[{host}]" if ":" in host else host
    return KubernetesAccess(
        url=f"https://{bracketed}:{port}",
        namespace=namespace,
        token_file=token,
        ca_file=service_account / "ca.crt",
    )


class KubernetesLease:
    """A LeaseStore; use it as an asynchronous context manager.

    The condition of a write is the object's resourceVersion.
    """

    def __init__(self, access: KubernetesAccess, name: str) -> None:
        self._access = access
        self._name = name
        self._leases = (
            f"{access.url}/apis/coordination.k8s.io/v1/namespaces"
            f"/{quote(access.namespace, safe='')}/leases"
        )
        self._session: aiohttp.ClientSession | None = None
        self._closing = AsyncExitStack()
        self._metadata: dict[str, Any] = {}  # of the object as last read or written
        self._mask = SecretMask()  # of the tokens, in responses
        self._trust: tuple[bytes, ssl.SSLContext] | None = None

    async def __aenter__(self) -> Self:
        session = client_session(
            headers={"Accept": "application/json", "User-Agent": f"autoscaler/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=MAX_CONNECT_S),
        )
        self._session = await self._closing.enter_async_context(session)
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._closing.aclose()

    async def read(self) -> StoredLease | None:
        status, body = await self._send("GET", f"/{quote(self._name, safe='')}")
        if status == 404:
            if _is_missing(body, self._name):
                return None
            raise _refused("GET", status, body)
        if status != 200:
            raise _refused("GET", status, body)
        return self._parsed(body)

    async def write(self, lease: Lease, replaces: StoredLease | None) -> StoredLease:
        if replaces is None:
            metadata = {"name": self._name, "namespace": self._access.namespace}
            method, path = "POST", ""
        else:
            known = self._metadata if self._metadata.get("name") == self._name else {}
            metadata = {
                **{key: value for key, value in known.items() if key != "managedFields"},
                "name": self._name,
                "namespace": self._access.namespace,
                "resourceVersion": replaces.version,
            }
            method, path = "PUT", f"/{quote(self._name, safe='')}"
        status, body = await self._send(method, path, encode_kubernetes_lease(lease, metadata))
        if status == 409 or (status == 404 and replaces is not None):
            raise LeaseConflict(_refusal(method, status, body))
        if status not in {200, 201}:
            raise _refused(method, status, body)
        return self._parsed(body)

    def _parsed(self, body: bytes) -> StoredLease:
        try:
            stored, self._metadata = parse_lease(body)
        except UnreadableObject as error:
            raise LeaseUnavailable(f"the Lease cannot be read: {error}") from error
        return stored

    async def _send(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of a response.

        Raises:
            LeaseUnavailable: there is none.
        """
        assert self._session is not None, "use the store as a context manager"
        try:
            headers, context = self._headers(with_body=bool(body)), self._context()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise LeaseUnavailable(
                f"the service account of the pod cannot be used: {reason}"
            ) from error
        try:
            async with self._session.request(
                method,
                f"{self._leases}{path}",
                data=body or None,
                headers=headers,
                ssl=context,
                allow_redirects=False,  # they would carry the token elsewhere
            ) as response:
                content = await response.content.read(MAX_BODY_BYTES)
                while chunk := await response.content.read(MAX_BODY_BYTES):
                    content += chunk
                    if len(content) > MAX_BODY_BYTES:
                        raise LeaseUnavailable("the response of Kubernetes is larger than 1 MiB")
                return response.status, self._mask.masked(content)
        except (aiohttp.ClientError, OSError) as error:
            reason = no_response_because(error)
            raise LeaseUnavailable(f"Kubernetes cannot be reached: {reason}") from error

    def _headers(self, *, with_body: bool) -> dict[str, str]:
        headers = {"Content-Type": "application/json"} if with_body else {}
        if self._access.token_file is not None:
            token = secret_of(self._access.token_file)
            self._mask.add(token)
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _context(self) -> ssl.SSLContext | bool:
        """The trust; built again when the file has other certificates."""
        if self._access.ca_file is None:
            return True
        content = read_regular(self._access.ca_file, MAX_BODY_BYTES)
        if self._trust is None or self._trust[0] != content:
            self._trust = content, ssl.create_default_context(cadata=content.decode("ascii"))
        return self._trust[1]


def _is_missing(body: bytes, name: str) -> bool:
    """Whether a 404 says that there is no such Lease, and not that something else is missing."""
    text = body.decode(errors="replace")
    return '"NotFound"' in text and f'\\"{name}\\"' in text


def _refused(method: str, status: int, body: bytes) -> LeaseUnavailable:
    kind = LeaseDenied if status in _DENIED else LeaseUnavailable
    return kind(_refusal(method, status, body))


def _refusal(method: str, status: int, body: bytes) -> str:
    text = shortened(body.decode(errors="replace"))
    advice = ""
    if status in _DENIED:
        advice = "; grant get, create and update for leases in this namespace"
    return f"Kubernetes refused {method} of the Lease with {status}: {text}{advice}"
