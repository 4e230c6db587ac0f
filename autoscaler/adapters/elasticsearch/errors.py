"""Errors of the connection to Elasticsearch.

    ElasticsearchError
    ├── ConnectionSettingsError       invalid settings; nothing was sent
    ├── NotLeading                    not sent: the lease does not outlast the request
    ├── Outdated                      not sent: decided too long ago
    ├── AnotherPath                   not sent: a name would change the path of the request
    ├── DocumentRefused               one of several documents
    ├── TransportError                no response from Elasticsearch
    │   ├── Unreachable               not sent: refused, no such host, no route
    │   ├── TlsError                  not executed: certificates
    │   ├── TimedOut                  outcome unknown
    │   │   └── HostTimedOut          outcome unknown; the host responds to nothing
    │   ├── ConnectionBroken          outcome unknown
    │   ├── GatewayError              outcome unknown: response of an intermediary
    │   ├── NotElasticsearch          response of another program
    │   ├── MalformedResponse         a 2xx with an unreadable body
    │   └── Unconfirmed               a 2xx whose body does not confirm the change
    └── ApiError                      Elasticsearch refused the request, by status:
        ├── BadRequest           400  ContradictoryRequest, AdaptiveAllocationsEnabled,
        │                             UnparsableRequest (NoAdaptiveAllocations),
        │                             DeploymentExists, EndpointMissing (NoUpdate)
        ├── Unauthenticated      401
        ├── Forbidden            403  MissingPrivilege, LicenceNotCompliant, MixedVersions,
        │                             ClusterBlocked, IndexRefused
        ├── NotFound             404  DeploymentNotFound, ModelNotFound, DefinitionNotFound
        ├── ServerTimeout        408  StartTimedOut, ModelDownloading
        ├── Conflict             409  NotStarted, OwnedByEndpoint, AlreadyStarted,
        │                             StartConflict, DeploymentInUse
        ├── NotAvailable         410
        ├── TooManyRequests      429  TooManyDeployments, UpgradeModeEnabled
        ├── ServerError          5xx  IndexUnavailable
        └── of several statuses       NotEnoughCapacity, RoutesFailed

The classes of `ApiError` are in `api_errors`; `error_rules` maps responses to them. Every message
is one sentence for the operator, without secrets.
"""

from collections.abc import Iterable

from autoscaler.connection import Problem
from autoscaler.errors import InputError


class ElasticsearchError(Exception):
    """The base class of all errors of this adapter.

    `requests` is how many requests a server received until this was the final error, repetitions
    included; `retry_after_s` is when it accepts another one, if the response states it.
    """

    requests: int = 1
    retry_after_s: float | None = None


class ConnectionSettingsError(ElasticsearchError, InputError):
    """A setting of the connection is invalid, or a file it names cannot be read."""


def ensure_none(problems: Iterable[Problem]) -> None:
    """
    Raises:
        ConnectionSettingsError: there is a problem; the message is about the first.
    """
    for key, problem in problems:
        raise ConnectionSettingsError(f"{key}: {problem}" if key else problem)


class NotLeading(ElasticsearchError):
    """The request was not sent, because another instance may lead before its response."""


class Outdated(ElasticsearchError):
    """The request was not sent, because it was decided from statistics that are too old now."""


class AnotherPath(ElasticsearchError):
    """The request was not sent, because a name in its path would lead it elsewhere."""


class DocumentRefused(ElasticsearchError):
    """Elasticsearch refused one of several documents of a request."""


class TransportError(ElasticsearchError):
    """No response from Elasticsearch."""


class Unreachable(TransportError):
    """No connection could be made, so the request was not sent."""


class TlsError(TransportError):
    """The TLS handshake failed; nothing was executed."""


class TimedOut(TransportError):
    """No complete response before the time-out. The request may have been executed."""


class HostTimedOut(TimedOut):
    """No response, and none to another request either; another host may respond."""


class ConnectionBroken(TransportError):
    """The connection was lost during the exchange. The request may have been executed."""


class GatewayError(TransportError):
    """A proxy or load balancer responded instead. The request may have been executed."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class NotElasticsearch(TransportError):
    """The response is from a program other than Elasticsearch."""


class MalformedResponse(TransportError):
    """A 2xx response whose body cannot be read or exceeds the size limit."""


class Unconfirmed(TransportError):
    """A 2xx response whose body does not confirm the requested change. It may have been made."""
