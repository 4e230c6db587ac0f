"""Which requests the server answers: by their Host, their Origin, their rate, their certificate,
their user or token, and their body.

A page of another site can have a browser on this machine send requests to the server, with
credentials or by a name of its own that resolves to this machine. The `Host` and the `Origin` of
RFC 9110 and RFC 6454 show that, and no page can set them.
"""

import hmac
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from hashlib import sha256
from ipaddress import ip_address
from types import MappingProxyType
from typing import NamedTuple

from aiohttp import hdrs, web

from autoscaler.adapters.admin_http.rates import Rates
from autoscaler.adapters.admin_http.refusals import RefusalReason
from autoscaler.adapters.admin_http.users import TooManyPasswords, Users
from autoscaler.connection import Bearer, token_of
from autoscaler.server_access import OPEN, UNNAMED_TOKEN, ServerAccess

_READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})

_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""The probes. An orchestrator has no token."""

CALLER = web.RequestKey("caller", str)
"""The key of a request for who sends it."""

NO_TOKENS: Mapping[str, Bearer] = MappingProxyType({})

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
    retry_after_s: int = 0  # 0: not stated

    @property
    def challenge(self) -> str:
        """The credentials that would be accepted, as in RFC 9110."""
        users = self.reason is RefusalReason.USER
        return 'Basic realm="autoscaler", charset="UTF-8"' if users else "Bearer"


class Tokens:
    """The tokens, of which requests for changes must carry one. Their files can be read again at
    any time.

    Args:
        given: the token without a name.
        named: tokens by the names of the operators who have them.
    """

    def __init__(self, given: Bearer | None, named: Mapping[str, Bearer] = NO_TOKENS) -> None:
        self._given: dict[str, Bearer] = {}
        self._digests: dict[str, bytes] = {}
        self.replace(given, named)

    def __repr__(self) -> str:
        return "Tokens(...)"

    def __bool__(self) -> bool:
        return bool(self._given)

    def replace(self, given: Bearer | None, named: Mapping[str, Bearer] = NO_TOKENS) -> None:
        """Use other tokens, each as soon as its file can be read."""
        self._given = dict(named) if given is None else {UNNAMED_TOKEN: given, **named}
        self._digests = {name: each for name, each in self._digests.items() if name in self._given}
        self.renew()

    def renew(self) -> bool:
        """Read the files again. Whether a token is another one now."""
        before = dict(self._digests)
        for name, given in self._given.items():
            with suppress(ValueError):  # the file is being replaced; the previous token stays
                self._digests[name] = _digest(token_of(given))
        return self._digests != before

    def name_of(self, presented: str) -> str | None:
        """The name of a token; None: it is none of them. The time that takes does not depend on how
        similar they are."""
        digest, found = _digest(presented), None
        for name, own in self._digests.items():
            if hmac.compare_digest(digest, own):
                found = name
        return found


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """Decides whether a request is answered.

    Args:
        tokens: those of requests for changes.
        open_reads: whether reads need no token, unless there are users.
        allowed_hosts: names under which the server is reached, or patterns of them, besides
            localhost and IP addresses: a name that an attacker has chosen resolves to this
            machine, an address cannot.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        open_reads: bool = True,
        allowed_hosts: Iterable[str] = (),
        access: ServerAccess = OPEN,
    ) -> None:
        self.tokens = tokens
        self._open_reads = open_reads
        self._allowed_hosts = ("localhost", *(host.lower() for host in allowed_hosts))
        self._rates = Rates(access.rate_limit)
        self._users = Users(access.users)
        self._certificates = _need_certificates(access)

    def replace_access(self, access: ServerAccess) -> None:
        """Apply other limits from now on."""
        self._rates.replace(access.rate_limit)
        self._users.replace(access.users)
        self._certificates = _need_certificates(access)

    async def why_not(self, request: web.BaseRequest) -> Refusal | None:
        """Why the request is not answered; None: it is."""
        refusal = (
            self._wrong_form(request) or self._wrong_host(request) or self._wrong_origin(request)
        )
        if refusal is not None or (request.method in _READS and request.path in _OPEN_PATHS):
            return refusal
        return (
            self._too_often(request)
            or self._no_certificate(request)
            or await self._no_user(request)
            or self._no_token(request)
        )

    def _too_often(self, request: web.BaseRequest) -> Refusal | None:
        wait_s = self._rates.wait_s(request.remote or "")
        if not wait_s:
            return None
        error = "this address sends more requests than server.rate_limit permits"
        return Refusal(RefusalReason.RATE, 429, error, retry_after_s=math.ceil(wait_s))

    def _no_certificate(self, request: web.BaseRequest) -> Refusal | None:
        if not self._certificates:
            return None
        if request.transport is not None and request.transport.get_extra_info("peercert"):
            return None
        return Refusal(
            RefusalReason.CERTIFICATE,
            403,
            "a certificate of the client is required, signed by an authority in "
            "server.tls.client_ca_file",
        )

    async def _no_user(self, request: web.BaseRequest) -> Refusal | None:
        """Why a read is not answered to users. Changes need a token in any case."""
        if not self._users or request.method not in _READS or self._token_name(request) is not None:
            return None
        authorization = request.headers.get(hdrs.AUTHORIZATION, "")
        try:
            name = await self._users.named_by(authorization)
        except TooManyPasswords as error:
            return Refusal(RefusalReason.BUSY, 429, str(error), retry_after_s=5)
        if name is not None:
            return None
        wrong = "the user or the password is wrong" if authorization else "a user is required"
        return Refusal(RefusalReason.USER, 401, f"{wrong}; use one of server.users, or the token")

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
        if reads and (self._open_reads or self._users):
            return None
        if not self.tokens:
            return Refusal(
                RefusalReason.TOKEN,
                403,
                "changes over HTTP require a token, and the daemon has none; set server.token_file",
            )
        if (name := self._token_name(request)) is not None:
            request[CALLER] = name
            return None
        presented = request.headers.get(hdrs.AUTHORIZATION, "")
        wrong = "the token is not that of the daemon" if presented else "a token is required"
        return Refusal(
            RefusalReason.TOKEN, 401, f"{wrong}; use the one in server.token_file of the daemon"
        )

    def _token_name(self, request: web.BaseRequest) -> str | None:
        """The name of the token that a request carries; None: it carries none, or a wrong one."""
        scheme, _, presented = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        return self.tokens.name_of(presented.strip()) if scheme.lower() == "bearer" else None


def _need_certificates(access: ServerAccess) -> bool:
    return access.tls is not None and access.tls.client_ca_file is not None
