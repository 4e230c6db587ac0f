"""A request, and its address."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from msgspec import Struct
from yarl import URL

from autoscaler.adapters.elasticsearch.error_rules import Operation
from autoscaler.adapters.elasticsearch.errors import AnotherPath
from autoscaler.wire.bounds import DESCRIPTION, BodyBound
from autoscaler.wire.names import names_several

_NO_NAMES = frozenset({"", ".", ".."})


class HttpRequest(Struct, frozen=True, kw_only=True):
    method: str
    path: str  # percent-encoded
    query: Mapping[str, str] = {}
    body: bytes = b""
    headers: Mapping[str, str] = {}  # of the body, unless it is JSON
    operation: Operation = Operation.OTHER
    repeatable: bool = False  # sending it again changes nothing
    bound: BodyBound = DESCRIPTION  # of the response
    extra_timeout_s: float = 0.0  # added to the time-out, where the request makes the server wait
    needs_lead: bool = False  # only the leader may send it, as any change of a deployment

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def ensure_own_path(request: HttpRequest) -> None:
    """Names of the cluster are parts of paths. A proxy may resolve `..` (RFC 3986, section 5.2.4),
    and an empty name leaves the path of all.

    Raises:
        AnotherPath: a part of the path is no name.
    """
    parts = request.path.removeprefix("/").split("/")
    if request.path != "/" and not _NO_NAMES.isdisjoint(parts):
        raise AnotherPath(
            f"{request} was not sent, because a name in its path is empty or consists of full stops"
        )


def address_of(url: URL, request: HttpRequest) -> URL:
    query = f"?{urlencode(request.query, safe='*,')}" if request.query else ""
    return URL(f"{str(url).rstrip('/')}{request.path}{query}", encoded=True)


def deployment_path(id_: str, operation: Operation) -> str:
    """
    Raises:
        AnotherPath: the request would be for several deployments.
    """
    if names_several(id_):
        raise AnotherPath(f"{operation} was not sent, because {id_} may be several; name one")
    return f"/_ml/trained_models/{quote(id_, safe='')}/deployment/{operation}"
