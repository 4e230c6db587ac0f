"""What this adapter's errors mean to the control loop."""

from autoscaler.adapters.elasticsearch import errors as e
from autoscaler.adapters.elasticsearch import refusals as r
from autoscaler.core.values import Fate
from autoscaler.ports import Trouble

# The first class that fits decides, so the particular stand before the general.
_FATES: tuple[tuple[type[e.ElasticsearchError], Fate], ...] = (
    (r.NotEnoughCapacity, Fate.NO_CAPACITY),
    (r.TooManyDeployments, Fate.NO_CAPACITY),
    (r.OwnedByEndpoint, Fate.ENDPOINT_OWNED),
    (r.DeploymentInUse, Fate.IN_USE),
    (r.NoAdaptiveAllocations, Fate.UNSUPPORTED),
    (r.NotStarted, Fate.NOT_STARTED),
    (r.NativeScalingEnabled, Fate.NATIVE_SCALING),
    # We never contradict ourselves; a server that says so speaks of its stored settings.
    (r.ContradictoryRequest, Fate.NATIVE_SCALING),
    (r.DeploymentNotFound, Fate.GONE),
    (r.ModelNotFound, Fate.GONE),
    # Nothing was started, which will be possible when the upgrade is over; nobody need grant it.
    (r.MixedVersions, Fate.INVALID),
    (r.UpgradeModeEnabled, Fate.INVALID),
    (r.Unauthenticated, Fate.FORBIDDEN),
    (r.Forbidden, Fate.FORBIDDEN),
    # Nothing is known to have happened; the next observation will tell.
    (e.TransportError, Fate.UNKNOWN),
    (e.ConnectionSettingsError, Fate.UNKNOWN),
    (r.ServerError, Fate.UNKNOWN),
    (r.ServerTimeout, Fate.UNKNOWN),
    (r.TooManyRequests, Fate.UNKNOWN),
    (e.ElasticsearchError, Fate.INVALID),
)

_TROUBLES: tuple[tuple[type[e.ElasticsearchError], Trouble], ...] = (
    (e.Unreachable, Trouble.UNREACHABLE),
    (e.TlsError, Trouble.UNREACHABLE),
    (e.ConnectionSettingsError, Trouble.UNREACHABLE),  # a certificate file lost while running
    (e.ConnectionBroken, Trouble.UNREACHABLE),
    (e.TimedOut, Trouble.TIMEOUT),
    (e.GatewayError, Trouble.UNAVAILABLE),
    (e.MalformedAnswer, Trouble.MALFORMED),
    (e.NotElasticsearch, Trouble.MALFORMED),
    (r.Unauthenticated, Trouble.UNAUTHENTICATED),
    (r.Forbidden, Trouble.FORBIDDEN),
)


def fate_of(error: e.ElasticsearchError) -> Fate:
    """What became of a change that ended in `error`."""
    return next(fate for kind, fate in _FATES if isinstance(error, kind))


def trouble_of(error: e.ElasticsearchError) -> Trouble:
    """What an operator would call an observation that ended in `error`."""
    if isinstance(error, r.ApiError) and error.status in (502, 503, 504):
        return Trouble.UNAVAILABLE
    return next((t for kind, t in _TROUBLES if isinstance(error, kind)), Trouble.REFUSED)
