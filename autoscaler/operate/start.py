"""Start a deployment, and wait for it."""

from collections.abc import Callable
from typing import TypeVar

from msgspec import UNSET, UnsetType

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.config import Config
from autoscaler.config.durations import format_duration
from autoscaler.core.values import Value
from autoscaler.errors import UserError
from autoscaler.operate.progress import Progress
from autoscaler.operate.session import api_session, outcome_unknown
from autoscaler.ports import Clock
from autoscaler.wire.deployments import AdaptivePatchDocument, StartRequest

Given = TypeVar("Given", int, str)

POLL_INTERVAL_S = 2.0
"""The statistics ask every node, so that more often would be a burden on a large cluster."""

_ADVICE: tuple[tuple[type[r.ApiError], str], ...] = (
    (r.ModelNotFound, "`GET _ml/trained_models` lists the models that there are"),
    (r.DefinitionNotFound, "upload its weights first"),
    (r.ModelDownloading, "start it again when the download has ended"),
    (r.DeploymentExists, "name another with --deployment-id, or stop that one first"),
    (r.AlreadyStarted, "name another with --deployment-id, or stop that one first"),
    (
        r.NotEnoughCapacity,
        "ask for less, stop another deployment, or add machine learning nodes",
    ),
    (r.TooManyDeployments, "stop another deployment first"),
    (r.UpgradeModeEnabled, "start it when the upgrade is over"),
    (r.MixedVersions, "start it when all nodes have the same version"),
    (r.NoAdaptiveAllocations, "--min and --max need Elasticsearch 8.16 or later"),
    (r.UnparsableRequest, "--deployment-id needs Elasticsearch 8.8 or later"),
    (r.MissingPrivilege, "it takes the cluster privilege manage_ml"),
    (r.LicenceNotCompliant, "deployments need a platinum, enterprise or trial licence"),
    (r.Unauthenticated, "check the credentials"),
)
"""What to do about a refusal. The first class that fits counts."""


class StartFailed(UserError):
    """The deployment does not serve as was asked for. The message says what there is instead."""


class StartOptions(Value, frozen=True, kw_only=True):
    """What is to be started, and what is to be waited for. None: as the server thinks fit."""

    model_id: str
    deployment_id: str | None = None  # None: the id of the model
    allocations: int | None = None
    minimum: int | None = None  # with `maximum`: Elasticsearch's own scaler chooses between them
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
    config: Config, options: StartOptions, clock: Clock, watch: Callable[[Progress], None]
) -> Progress:
    """Start a deployment; what it has become when it serves as wished. `watch` sees each look.

    Raises:
        NotStarted: it was refused, has failed, or takes longer than the wish allows.
        ConnectionSettingsError: the connection cannot be made as configured.
    """
    async with api_session(config, clock) as api:
        begun_at = clock.now()
        await _request(api, options)
        return await _wait(api, options, clock, begun_at, watch)


async def _request(api: ElasticsearchApi, options: StartOptions) -> None:
    """Ask for it without waiting for more than the cluster's having taken note."""
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
        pass  # it is there, and goes on starting: the statistics tell how far it comes
    except ElasticsearchError as error:
        raise StartFailed(_why_not(options.name, error)) from error


def _given(value: Given | None) -> Given | UnsetType:
    return UNSET if value is None else value


def _why_not(name: str, error: ElasticsearchError) -> str:
    if outcome_unknown(error):
        return (
            f"{error}; whether {name} was started is not known: "
            "`GET _ml/trained_models/_stats` tells, before you try again"
        )
    if not isinstance(error, r.ApiError):
        return str(error)
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    reason = error.reason.rstrip(".; ") or str(error)
    return f"{name} was not started: {reason}{f'; {advice}' if advice else ''}"


async def _wait(
    api: ElasticsearchApi,
    options: StartOptions,
    clock: Clock,
    begun_at: float,
    watch: Callable[[Progress], None],
) -> Progress:
    give_up_at = begun_at + options.timeout_s
    known = Progress(deployment_id=options.name, elapsed_s=0.0)
    while True:
        known = await _poll(api, known, clock.now() - begun_at)
        watch(known)
        if known.has_reached(options.wait_for):
            return known
        if known.failed:
            raise StartFailed(
                f"{options.name} has failed{known.details}; it stays until it is stopped: "
                f"`autoscaler stop {options.name}`"
            )
        now = clock.now()
        if now >= give_up_at:
            raise StartFailed(_too_slow(options, known))
        await clock.sleep(min(POLL_INTERVAL_S, give_up_at - now))


async def _poll(api: ElasticsearchApi, before: Progress, elapsed_s: float) -> Progress:
    """What the statistics say now. If they cannot be read, what was known, and why it is old.

    Raises:
        NotStarted: they may not be read, or the deployment has gone again.
    """
    name, reason = before.deployment_id, ""
    try:
        statistics = await api.stats()
    except (r.Forbidden, r.Unauthenticated) as error:
        raise StartFailed(f"{name} was started, but cannot be watched: {error}") from error
    except ElasticsearchError as error:
        reason = str(error)
    else:
        found = next((each for each in statistics.deployments if each.deployment_id == name), None)
        if found is not None:
            return Progress(deployment_id=name, elapsed_s=elapsed_s, stats=found)
        reason = dict(statistics.unreadable).get(name, "")
        if before.stats is not None and not reason:
            raise StartFailed(f"{name} was stopped by somebody while it was starting")
    return Progress(
        deployment_id=name, elapsed_s=elapsed_s, stats=before.stats, stale_reason=reason
    )


def _too_slow(options: StartOptions, known: Progress) -> str:
    return (
        f"{options.name} is not {options.wait_for.replace('_', ' ')} after "
        f"{format_duration(options.timeout_s)}; it stays and goes on starting{known.details}; "
        f"watch it with `GET _ml/trained_models/{options.model_id}/_stats`, "
        f"undo it with `autoscaler stop {options.name}`"
    )
