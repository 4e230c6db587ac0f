"""Errors of this adapter as outcomes and failure kinds of the control loop."""

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.adapters.elasticsearch import errors as e
from autoscaler.core.decision import OutcomeKind
from autoscaler.ports import FailureKind

# The first matching class applies, so subclasses come before their base classes.
_OUTCOME_KINDS: tuple[tuple[type[e.ElasticsearchError], OutcomeKind], ...] = (
    (r.NotEnoughCapacity, OutcomeKind.NO_CAPACITY),
    (r.TooManyDeployments, OutcomeKind.NO_CAPACITY),
    (r.OwnedByEndpoint, OutcomeKind.ENDPOINT_OWNED),
    (r.DeploymentInUse, OutcomeKind.IN_USE),
    (r.NoAdaptiveAllocations, OutcomeKind.UNSUPPORTED),
    (r.NotStarted, OutcomeKind.NOT_STARTED),
    (r.AdaptiveAllocationsEnabled, OutcomeKind.ADAPTIVE_ENABLED),
    # The daemon never sends both settings; the error refers to the stored ones.
    (r.ContradictoryRequest, OutcomeKind.ADAPTIVE_ENABLED),
    (r.DeploymentNotFound, OutcomeKind.GONE),
    (r.ModelNotFound, OutcomeKind.GONE),
    # Nothing was started. It will be possible after the upgrade, without a new privilege.
    (r.MixedVersions, OutcomeKind.INVALID),
    (r.UpgradeModeEnabled, OutcomeKind.INVALID),
    # These apply to every deployment; any other 403 applies only to the requested deployment.
    (r.Unauthenticated, OutcomeKind.FORBIDDEN),
    (r.MissingPrivilege, OutcomeKind.FORBIDDEN),
    (r.LicenceNotCompliant, OutcomeKind.FORBIDDEN),
    (r.ClusterBlocked, OutcomeKind.FORBIDDEN),
    # Refused for certain, and for this model only.
    (r.ModelDownloading, OutcomeKind.INVALID),
    (r.IndexUnavailable, OutcomeKind.INVALID),
    (e.NotLeading, OutcomeKind.WITHHELD),
    (e.Outdated, OutcomeKind.OUTDATED),
    # The change may have been applied; the next observation shows it.
    (e.TransportError, OutcomeKind.UNKNOWN),
    (e.ConnectionSettingsError, OutcomeKind.UNKNOWN),
    (r.StartConflict, OutcomeKind.UNRECOGNISED),
    (r.ServerError, OutcomeKind.UNKNOWN),
    (r.ServerTimeout, OutcomeKind.UNKNOWN),
    (r.TooManyRequests, OutcomeKind.UNKNOWN),
    (e.ElasticsearchError, OutcomeKind.INVALID),
)

_FAILURE_KINDS: tuple[tuple[type[e.ElasticsearchError], FailureKind], ...] = (
    (e.Unreachable, FailureKind.UNREACHABLE),
    (e.TlsError, FailureKind.UNREACHABLE),
    (e.ConnectionSettingsError, FailureKind.UNREACHABLE),  # a certificate file lost while running
    (e.ConnectionBroken, FailureKind.UNREACHABLE),
    (e.TimedOut, FailureKind.TIMEOUT),
    (e.GatewayError, FailureKind.UNAVAILABLE),
    (e.MalformedResponse, FailureKind.MALFORMED),
    (e.NotElasticsearch, FailureKind.MALFORMED),
    (r.Unauthenticated, FailureKind.UNAUTHENTICATED),
    (r.Forbidden, FailureKind.FORBIDDEN),
)


def outcome_kind_of(error: e.ElasticsearchError) -> OutcomeKind:
    """The outcome of a change that failed with `error`."""
    kind = next(outcome_kind for kind, outcome_kind in _OUTCOME_KINDS if isinstance(error, kind))
    if kind is OutcomeKind.INVALID and isinstance(error, r.ApiError) and not error.recognised:
        return OutcomeKind.UNRECOGNISED
    return kind


def stated_wait_s(error: e.ElasticsearchError) -> float:
    """Seconds that a refused change has to wait, by the `Retry-After` of a 429 or 503; 0: none.

    Source: RFC 9110, sections 10.2.3 and 15.6.4; RFC 6585, section 4.
    """
    match error:
        case r.ApiError(status=429 | 503) | e.GatewayError(status=429 | 503):
            return error.retry_after_s or 0.0
    return 0.0


def failure_kind_of(error: e.ElasticsearchError) -> FailureKind:
    """The failure kind of an observation that failed with `error`."""
    match error:
        case r.ApiError(status=408 | 504) | e.GatewayError(status=504):
            return FailureKind.TIMEOUT
        case r.ApiError(status=429) | e.GatewayError(status=429):
            return FailureKind.OVERLOADED
        case r.ApiError(status=502 | 503):
            return FailureKind.UNAVAILABLE
    return next((t for kind, t in _FAILURE_KINDS if isinstance(error, kind)), FailureKind.REFUSED)
