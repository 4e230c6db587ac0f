"""Which requests the server answers: by their Host, their Origin, their token and their body.

A page of another site can have a browser on this machine send requests to the server, with
credentials or by a name of its own that resolves to this machine. The `Host` and the `Origin` of
RFC 9110 and RFC 6454 show that, and no page can set them.
"""

import hmac
import re
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from hashlib import sha256
from ipaddress import ip_address
from typing import NamedTuple

from aiohttp import hdrs, web

from autoscaler.adapters.admin_http.refusals import RefusalReason
from autoscaler.connection import Bearer, token_of

_READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})

_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""The probes. An orchestrator has no token."""

CALLER = web.RequestKey("caller", str)
"""The key of a request for who sends it."""

MAX_BODY_BYTES = 4_096
"""The size limit of the body of a request. It is an instruction with its reason."""

_BODY_PATH = "/api/v1/"
"""Part of the paths to which a request may have a body."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")

_OWN_SITE = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site` of a request that no other site has caused."""


class Refusal(NamedTuple):
    """The response to a request that is not answered."""

    reason: RefusalReason
    status: int
    error: str


class Token:
    """The token that requests for changes must carry. Its file can be read again at any time.

    Args:
        name: of the operators who have it.
    """

    def __init__(self, given: Bearer | None, name: str = "operator") -> None:
        self.name = name
        self._given: Bearer | None = None
        self._digest = b""
        self.replace(given)

    def __repr__(self) -> str:
        return "Token(...)"

    def __bool__(self) -> bool:
        return self._given is not None

    def replace(self, given: Bearer | None) -> None:
        """Use another token, as soon as its file can be read."""
        self._given = given
        if given is None:
            self._digest = b""
            return
        with suppress(ValueError):  # the file is being replaced; the previous token stays
            self._digest = _digest(token_of(given))

    def renew(self) -> None:
        """Read the file again."""
        self.replace(self._given)

    def matches(self, presented: str) -> bool:
        """Whether this is the token. The time it takes depends on neither."""
        return hmac.compare_digest(_digest(presented), self._digest)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """Decides whether a request is answered.

    Args:
        token: the token of requests for changes.
        open_reads: whether reads need no token.
        allowed_hosts: names under which the server is reached, or patterns of them, besides
            localhost and IP addresses: a name that an attacker has chosen resolves to this
            machine, an address cannot.
    """

    def __init__(
        self, token: Token, *, open_reads: bool = True, allowed_hosts: Iterable[str] = ()
    ) -> None:
        self.token = token
        self._open_reads = open_reads
        self._allowed_hosts = ("localhost", *(host.lower() for host in allowed_hosts))

    def why_not(self, request: web.BaseRequest) -> Refusal | None:
        """Why the request is not answered; None: it is."""
        return (
            self._wrong_form(request)
            or self._wrong_host(request)
            or self._wrong_origin(request)
            or self._no_token(request)
        )

    def _wrong_form(self, request: web.BaseRequest) -> Refusal | None:
        if not request.raw_path.startswith("/"):
            return Refusal(RefusalReason.MALFORMED, 400, "the target must begin with a slash")
        if not request.can_read_body:
            return None
        if request.method in _READS or _BODY_PATH not in request.path:
            return Refusal(RefusalReason.MALFORMED, 413, "this request has no body")
        if request.content_length is None:
            return Refusal(RefusalReason.MALFORMED, 411, "the length of the body must be stated")
        if request.content_length > MAX_BODY_BYTES:
            error = f"the body is larger than {MAX_BODY_BYTES} bytes"
            return Refusal(RefusalReason.MALFORMED, 413, error)
        if request.content_type != "application/json" or hdrs.CONTENT_ENCODING in request.headers:
            error = "the body must be JSON, as application/json without an encoding"
            return Refusal(RefusalReason.MALFORMED, 415, error)
        return None

    def _wrong_host(self, request: web.BaseRequest) -> Refusal | None:
        hosts = request.headers.getall(hdrs.HOST, [])
        if len(hosts) != 1:
            return Refusal(RefusalReason.HOST, 400, "exactly one Host is required")
        found = _HOST.fullmatch(hosts[0])
        if found is not None and self._is_allowed(found["name"].lower()):
            return None
        return Refusal(
            RefusalReason.HOST,
            421,
            f"this server is not {hosts[0][:100]!a}; if clients reach it by that name, add it "
            "to server.allowed_hosts",
        )

    def _is_allowed(self, name: str) -> bool:
        try:
            ip_address(name.strip("[]"))
        except ValueError:
            return any(fnmatchcase(name, pattern) for pattern in self._allowed_hosts)
        return True

    def _wrong_origin(self, request: web.BaseRequest) -> Refusal | None:
        own = {f"http://{request.host}".lower(), f"https://{request.host}".lower()}
        foreign = any(each.lower() not in own for each in request.headers.getall(hdrs.ORIGIN, []))
        caused_by = request.headers.get("Sec-Fetch-Site", "none")
        if foreign or (request.method not in _READS and caused_by not in _OWN_SITE):
            return Refusal(RefusalReason.ORIGIN, 403, "pages of other sites may not use it")
        return None

    def _no_token(self, request: web.BaseRequest) -> Refusal | None:
        reads = request.method in _READS
        if reads and (self._open_reads or request.path in _OPEN_PATHS):
            return None
        if not self.token:
            return Refusal(
                RefusalReason.TOKEN,
                403,
                "changes over HTTP require a token, and the daemon has none; set server.token_file",
            )
        scheme, _, presented = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer" and self.token.matches(presented.strip()):
            request[CALLER] = self.token.name
            return None
        wrong = "the token is not that of the daemon" if presented else "a token is required"
        return Refusal(
            RefusalReason.TOKEN, 401, f"{wrong}; use the one in server.token_file of the daemon"
        )
