"""What this adapter's errors mean to the control loop."""

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.adapters.elasticsearch import errors as e
from autoscaler.core.values import OutcomeKind
from autoscaler.ports import FailureKind

# The first class that fits decides, so the particular stand before the general.
_OUTCOME_KINDS: tuple[tuple[type[e.ElasticsearchError], OutcomeKind], ...] = (
    (r.NotEnoughCapacity, OutcomeKind.NO_CAPACITY),
    (r.TooManyDeployments, OutcomeKind.NO_CAPACITY),
    (r.OwnedByEndpoint, OutcomeKind.ENDPOINT_OWNED),
    (r.DeploymentInUse, OutcomeKind.IN_USE),
    (r.NoAdaptiveAllocations, OutcomeKind.UNSUPPORTED),
    (r.NotStarted, OutcomeKind.NOT_STARTED),
    (r.AdaptiveAllocationsEnabled, OutcomeKind.ADAPTIVE_ENABLED),
    # We never contradict ourselves; a server that says so speaks of its stored settings.
    (r.ContradictoryRequest, OutcomeKind.ADAPTIVE_ENABLED),
    (r.DeploymentNotFound, OutcomeKind.GONE),
    (r.ModelNotFound, OutcomeKind.GONE),
    # Nothing was started, which will be possible when the upgrade is over; nobody need grant it.
    (r.MixedVersions, OutcomeKind.INVALID),
    (r.UpgradeModeEnabled, OutcomeKind.INVALID),
    (r.Unauthenticated, OutcomeKind.FORBIDDEN),
    (r.Forbidden, OutcomeKind.FORBIDDEN),
    # Nothing is known to have happened; the next observation will tell.
    (e.TransportError, OutcomeKind.UNKNOWN),
    (e.ConnectionSettingsError, OutcomeKind.UNKNOWN),
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
    """What became of a change that ended in `error`."""
    return next(outcome_kind for kind, outcome_kind in _OUTCOME_KINDS if isinstance(error, kind))


def failure_kind_of(error: e.ElasticsearchError) -> FailureKind:
    """What an operator would call an observation that ended in `error`."""
    if isinstance(error, r.ApiError) and error.status in (502, 503, 504):
        return FailureKind.UNAVAILABLE
    return next((t for kind, t in _FAILURE_KINDS if isinstance(error, kind)), FailureKind.REFUSED)
