"""Start a deployment and wait for it."""

from collections.abc import Callable
from typing import TypeVar

from msgspec import UNSET, UnsetType

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.config import Config
from autoscaler.core.units import duration_text
from autoscaler.core.values import Value
from autoscaler.errors import UserError
from autoscaler.operate.progress import Progress
from autoscaler.operate.session import api_session, outcome_unknown
from autoscaler.ports import Clock
from autoscaler.wire.deployments import AdaptivePatchDocument, StartRequest

Given = TypeVar("Given", int, str)

POLL_INTERVAL_S = 2.0
"""Seconds between two polls. 2 s, because each poll sends a request to every node."""

_ADVICE: tuple[tuple[type[r.ApiError], str], ...] = (
    (r.ModelNotFound, "`GET _ml/trained_models` lists the models"),
    (r.DefinitionNotFound, "upload its weights first"),
    (r.ModelDownloading, "start it again when the download has ended"),
    (r.DeploymentExists, "choose another id with --deployment-id, or stop that deployment first"),
    (r.AlreadyStarted, "choose another id with --deployment-id, or stop that deployment first"),
    (
        r.NotEnoughCapacity,
        "reduce --allocations or --threads, stop another deployment, or add machine learning nodes",
    ),
    (r.RoutesFailed, "check the logs of these nodes"),
    (r.TooManyDeployments, "stop another deployment first"),
    (r.UpgradeModeEnabled, "start it when the upgrade is over"),
    (r.MixedVersions, "start it when all nodes have the same version"),
    (r.NoAdaptiveAllocations, "--min and --max need Elasticsearch 8.16 or later"),
    (r.UnparsableRequest, "--deployment-id needs Elasticsearch 8.8 or later"),
    (r.MissingPrivilege, "grant the cluster privilege manage_ml"),
    (r.LicenceNotCompliant, "deployments need a platinum, enterprise or trial licence"),
    (r.Unauthenticated, "check the credentials"),
)
"""The remedy for each refusal. The first class that matches applies."""


class StartFailed(UserError):
    """The deployment did not reach the requested state. The message states its present state."""


class StartOptions(Value, frozen=True, kw_only=True):
    """What to start, and which state to wait for. None: the server's default."""

    model_id: str
    deployment_id: str | None = None  # None: the id of the model
    allocations: int | None = None
    minimum: int | None = None  # with `maximum`: the bounds of adaptive allocations
    maximum: int | None = None
    threads: int | None = None
    queue_capacity: int | None = None
    cache_size: str | None = None  # such as "100mb"
    priority: str | None = None
    wait_for: str = "started"
    timeout_s: float = 300.0

    @property
    def name(self) -> str:
        return self.deployment_id or self.model_id


async def start(
    config: Config, options: StartOptions, clock: Clock, show: Callable[[Progress], None]
) -> Progress:
    """Start a deployment, and return its progress when it has reached the state to wait for.

    `show` is called after each poll.

    Raises:
        StartFailed: it was refused, has failed, or takes longer than `timeout_s`.
        ConnectionSettingsError: the connection settings are not usable.
    """
    async with api_session(config, clock) as api:
        begun_at = clock.now()
        await _request(api, options)
        return await _wait(api, options, clock, begun_at, show)


async def _request(api: ElasticsearchApi, options: StartOptions) -> None:
    """Send the request, and wait for its acceptance only."""
    adaptive: AdaptivePatchDocument | UnsetType = UNSET
    if options.maximum is not None:
        adaptive = AdaptivePatchDocument(
            enabled=True,
            min_number_of_allocations=_given(options.minimum),
            max_number_of_allocations=options.maximum,
        )
    request = StartRequest(
        deployment_id=_given(options.deployment_id),
        wait_for="starting",
        number_of_allocations=_given(options.allocations),
        threads_per_allocation=_given(options.threads),
        queue_capacity=_given(options.queue_capacity),
        cache_size=_given(options.cache_size),
        priority=_given(options.priority),
        adaptive_allocations=adaptive,
    )
    try:
        await api.start(options.model_id, request)
    except r.StartTimedOut:
        pass  # it exists and continues to start; the statistics show its progress
    except ElasticsearchError as error:
        raise StartFailed(_why_not(options.name, error)) from error


def _given(value: Given | None) -> Given | UnsetType:
    return UNSET if value is None else value


def _why_not(name: str, error: ElasticsearchError) -> str:
    if outcome_unknown(error):
        return (
            f"{error}; {name} may have been started: check with `GET _ml/trained_models/_stats` "
            "before you try again"
        )
    if not isinstance(error, r.ApiError):
        return str(error)
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    reason = error.reason.rstrip(".; ") or str(error)
    causes = f" ({error.causes.rstrip('.; ')})" if error.causes else ""
    return f"{name} was not started: {reason}{causes}{f'; {advice}' if advice else ''}"


async def _wait(
    api: ElasticsearchApi,
    options: StartOptions,
    clock: Clock,
    begun_at: float,
    show: Callable[[Progress], None],
) -> Progress:
    give_up_at = begun_at + options.timeout_s
    known = Progress(deployment_id=options.name, elapsed_s=0.0)
    while True:
        known = await _poll(api, known, clock.now() - begun_at)
        show(known)
        if known.has_reached(options.wait_for):
            return known
        if known.failed:
            raise StartFailed(
                f"{options.name} has failed{known.details}; remove it with "
                f"`autoscaler stop {options.name}`"
            )
        now = clock.now()
        if now >= give_up_at:
            raise StartFailed(_too_slow(options, known))
        await clock.sleep(min(POLL_INTERVAL_S, give_up_at - now))


async def _poll(api: ElasticsearchApi, before: Progress, elapsed_s: float) -> Progress:
    """The present state. If the statistics cannot be read: the last known state, and the reason.

    Raises:
        StartFailed: reading the statistics is forbidden, or the deployment is gone.
    """
    name, reason = before.deployment_id, ""
    try:
        statistics = await api.stats()
    except (r.Forbidden, r.Unauthenticated) as error:
        raise StartFailed(f"{name} was started, but its state cannot be read: {error}") from error
    except ElasticsearchError as error:
        reason = str(error)
    else:
        found = next((each for each in statistics.deployments if each.deployment_id == name), None)
        if found is not None:
            return Progress(deployment_id=name, elapsed_s=elapsed_s, stats=found)
        reason = dict(statistics.unreadable).get(name, "")
        if before.stats is not None and not reason:
            raise StartFailed(
                f"{name} is no longer reported: another client stopped it while it was starting, "
                "or Elasticsearch removed it because it could not start"
            )
    return Progress(
        deployment_id=name, elapsed_s=elapsed_s, stats=before.stats, stale_reason=reason
    )


def _too_slow(options: StartOptions, known: Progress) -> str:
    return (
        f"{options.name} is not {options.wait_for.replace('_', ' ')} after "
        f"{duration_text(options.timeout_s)}; it continues to start{known.details}; "
        f"watch it with `GET _ml/trained_models/{options.model_id}/_stats`, "
        f"remove it with `autoscaler stop {options.name}`"
    )
