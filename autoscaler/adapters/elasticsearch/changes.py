"""Executes changes through the right API.

A deployment that an inference endpoint owns is changed through the endpoint, because the stored
settings of the endpoint would differ otherwise; since about 9.2 this is required. Versions before
8.17 have no such API, and some later ones accept only `num_allocations` in it; with these, the
change is made through the API for trained models. While the owner is unknown, a version that would
accept the change of an owned deployment receives no change, and nothing is stopped.

An endpoint ignores the settings that it has stored already, also if its deployment has lost them.
Then the settings that the deployment has are requested first, and the desired settings afterwards.
Versions before 9.2 refuse the former, and the deployment is changed directly.

Source: elastic/elasticsearch, `TransportUpdateTrainedModelDeploymentAction.java`,
`TransportUpdateInferenceModelAction.java`, `TransportStartTrainedModelDeploymentAction.java`.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.api_errors import (
    AlreadyStarted,
    ApiError,
    BadRequest,
    DeploymentExists,
    Forbidden,
    LicenceNotCompliant,
    MissingPrivilege,
    NotFound,
    OwnedByEndpoint,
    StartTimedOut,
)
from autoscaler.adapters.elasticsearch.error_mapping import outcome_kind_of, stated_wait_s
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError, NotLeading, Outdated
from autoscaler.adapters.elasticsearch.ownership import Ownership
from autoscaler.adapters.elasticsearch.pipelines import TooManyNames, pipeline_of
from autoscaler.core.decision import Change, OutcomeKind, SetAllocations, SetBounds, Start, Stop
from autoscaler.core.values import AdaptiveAllocations, DeploymentStats
from autoscaler.ports import UpdateFailed
from autoscaler.wire.deployments import AdaptivePatchDocument, StartRequest
from autoscaler.wire.inference import EndpointDocument

_START_TIMEOUT = "5s"
"""Time-out of `_start`. The control loop waits for it, and the next observation shows the state."""


OWNER_TIMEOUT_S = 3.0
"""Seconds that the search for the owner of a deployment may take before a change of it."""

STOP_TIMEOUT_S = 10.0
"""Seconds that the list of endpoints may take before a stop, which is rare. Lists of several
seconds have been reported (elastic/elasticsearch#136192)."""


class _Settings(Struct, frozen=True):
    allocations: int | UnsetType = UNSET
    adaptive: AdaptivePatchDocument | UnsetType = UNSET


class ChangeExecutor:
    """Executes changes; see `ports.Actuator`."""

    def __init__(self, api: ElasticsearchApi, ownership: Ownership) -> None:
        self._api = api
        self._ownership = ownership
        self._deployments: Mapping[str, DeploymentStats] = {}
        self._pipelines: Mapping[str, int | None] = {}  # that use each deployment, as observed
        self._observations = 0
        # The last settings that each endpoint accepted, and after which observation.
        self._accepted: dict[str, tuple[_Settings, int]] = {}

    def observed(
        self,
        deployments: Mapping[str, DeploymentStats],
        pipelines: Mapping[str, int | None] | None = None,
    ) -> None:
        """Record the current settings of the deployments, and how many pipelines use each."""
        self._pipelines = pipelines or {}
        for name, before in self._deployments.items():
            now = deployments.get(name)
            if now is None or now.server_created_at != before.server_created_at:
                self._ownership.forget_deployment(name)
        self._deployments = deployments
        self._observations += 1
        self._accepted = {k: v for k, v in self._accepted.items() if k in deployments}

    async def carry_out(self, deployment_id: str, change: Change) -> None:
        try:
            match change:
                case SetAllocations() | SetBounds():
                    await self._update(deployment_id, _settings_of(change))
                case Stop():
                    await self._stop(deployment_id)
                case Start():
                    await self._start(deployment_id, change)
        except ElasticsearchError as error:
            wait_s = stated_wait_s(error)
            raise UpdateFailed(outcome_kind_of(error), str(error), wait_s) from error

    async def _update(self, deployment_id: str, settings: _Settings) -> None:
        endpoint = await self._owner(deployment_id)
        if endpoint is None:
            try:
                return await self._update_deployment(deployment_id, settings)
            except OwnedByEndpoint as conflict:
                endpoint = await self._owner_after(conflict, deployment_id)
        refusal: ApiError | None = None
        try:
            if await self._update_endpoint(endpoint, settings):
                self._accepted[deployment_id] = settings, self._observations
                return None
        except (BadRequest, NotFound) as error:
            # No such API, the API does not accept the setting, or the endpoint no longer exists.
            refusal = error
        try:
            return await self._update_deployment(deployment_id, settings)
        except OwnedByEndpoint as conflict:
            raise refusal or conflict from conflict

    async def _update_deployment(self, deployment_id: str, settings: _Settings) -> None:
        await self._api.update(
            deployment_id, allocations=settings.allocations, adaptive=settings.adaptive
        )

    async def _owner(self, deployment_id: str) -> EndpointDocument | None:
        """The endpoint that owns the deployment; None if there is none, or if the server refuses
        the change of a deployment that has one."""
        ownership = self._ownership
        unknown = ownership.unknown_because(deployment_id)
        if not unknown or ownership.version.guards_updates or ownership.denied is not None:
            return ownership.owner_of(deployment_id)
        with suppress(ElasticsearchError, TimeoutError):
            async with asyncio.timeout(OWNER_TIMEOUT_S):
                await ownership.ask_for(deployment_id)
        if unknown := ownership.unknown_because(deployment_id):
            raise UpdateFailed(
                OutcomeKind.WITHHELD,
                f"{deployment_id} was not changed, because it is not known whether an inference "
                f"endpoint owns it, and this version does not refuse the change if so: {unknown}",
            )
        return ownership.owner_of(deployment_id)

    async def _update_endpoint(self, endpoint: EndpointDocument, settings: _Settings) -> bool:
        """Whether the endpoint has accepted all settings. It refuses two settings in one request.

        Adaptive allocations are disabled first, because `num_allocations` is refused while they
        are enabled.

        Raises:
            UpdateFailed: of kind UNKNOWN if only the first request was sent.
        """
        accepted = False
        try:
            for step in self._endpoint_steps(endpoint, settings):
                updated = await self._api.update_endpoint(
                    endpoint, allocations=step.allocations, adaptive=step.adaptive
                )
                self._ownership.remember(updated, endpoint.inference_id)
                accepted = True
                if step.adaptive is not UNSET and not _agrees(
                    updated.service_settings, step.adaptive
                ):
                    return False
        except Forbidden as error:
            if isinstance(error, LicenceNotCompliant) and "[ml]" in error.reason:
                raise
            raise _not_permitted(endpoint.inference_id, error) from error
        except (NotLeading, Outdated) as error:
            if not accepted:
                raise
            raise UpdateFailed(
                OutcomeKind.UNKNOWN,
                f"a part of the change was accepted, and the rest was not sent: {error}",
            ) from error
        return True

    def _endpoint_steps(
        self, endpoint: EndpointDocument, settings: _Settings
    ) -> Iterator[_Settings]:
        present = self._deployments.get(endpoint.inference_id)
        if present is not None and self._would_be_ignored(endpoint, settings, present):
            yield _other_settings(present)
        if settings.adaptive is not UNSET:
            yield _Settings(adaptive=settings.adaptive)
        if settings.allocations is not UNSET:
            yield _Settings(allocations=settings.allocations)

    def _would_be_ignored(
        self, endpoint: EndpointDocument, settings: _Settings, present: DeploymentStats
    ) -> bool:
        """Whether the endpoint has stored the settings, and its deployment has others."""
        if UNSET not in (settings.adaptive, settings.allocations):
            return False  # a take-over, which sends two settings in any case
        if present.allocations is None or _has(present, settings):
            return False
        accepted, after = self._accepted.get(endpoint.inference_id, (None, None))
        if after == self._observations:
            return False  # the observation is older than the last change
        if accepted == settings:
            return True
        stored = endpoint.service_settings
        if settings.adaptive is not UNSET:
            return _agrees(stored, settings.adaptive)
        return stored.get("num_allocations") == settings.allocations

    async def _owner_after(self, conflict: OwnedByEndpoint, deployment_id: str) -> EndpointDocument:
        """The endpoint that owns the deployment, read after a refusal for that reason."""
        try:
            async with asyncio.timeout(OWNER_TIMEOUT_S):
                await self._ownership.read(self._deployments)
        except MissingPrivilege as error:
            self._ownership.note_owned(deployment_id)
            raise _not_permitted(deployment_id, error) from error
        except (ElasticsearchError, TimeoutError):
            raise conflict from None
        found = self._ownership.owner_of(deployment_id)
        if found is None:
            raise conflict
        return found

    async def _stop(self, deployment_id: str) -> None:
        """Reads the owners and the pipelines first, because they need their deployments."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._ownership.read(self._deployments)
        except MissingPrivilege as error:
            raise UpdateFailed(
                OutcomeKind.ENDPOINT_OWNED,
                f"{deployment_id} was not stopped: it may belong to an inference endpoint; "
                f"grant monitor_inference{_to(error)}, so that this can be checked",
            ) from error
        except (ElasticsearchError, TimeoutError) as error:
            raise UpdateFailed(
                OutcomeKind.WITHHELD,
                f"{deployment_id} was not stopped, because it is not known whether inference "
                f"endpoints use it: {self._ownership.failure or 'their list takes too long'}",
            ) from error
        endpoint = self._ownership.owner_of(deployment_id)
        if endpoint is not None:
            raise UpdateFailed(
                OutcomeKind.ENDPOINT_OWNED,
                f"{deployment_id} was not stopped: inference endpoint {endpoint.inference_id} owns "
                'it; use mode = "bounds" with scale_to_zero via "adaptive"',
            )
        if used := self._ownership.in_use([deployment_id]).get(deployment_id):
            raise UpdateFailed(
                OutcomeKind.IN_USE, f"{deployment_id} was not stopped, because {used}"
            )
        await self._check_pipelines(deployment_id)
        await self._api.stop(deployment_id, force=False, allow_no_match=True, extra_timeout_s=0.0)

    async def _check_pipelines(self, deployment_id: str) -> None:
        """
        Raises:
            UpdateFailed: an ingest pipeline uses the deployment, or neither the pipelines nor the
                statistics exclude that.
        """
        stats = self._deployments.get(deployment_id)
        model_id = deployment_id if stats is None else stats.model_id
        known = {
            *self._deployments,
            *[each.model_id for each in self._deployments.values()],
        }
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                pipeline = await pipeline_of(self._api, deployment_id, model_id, known)
        except (ElasticsearchError, TimeoutError, TooManyNames) as error:
            if self._pipelines.get(deployment_id) == 0:
                return
            advice = "; grant read_pipeline" if isinstance(error, MissingPrivilege) else ""
            raise UpdateFailed(
                OutcomeKind.WITHHELD,
                f"{deployment_id} was not stopped, because it is not known whether ingest "
                f"pipelines use it: {error or 'reading them takes too long'}{advice}",
            ) from error
        if pipeline is not None:
            raise UpdateFailed(
                OutcomeKind.IN_USE,
                f"{deployment_id} was not stopped, because ingest pipeline {pipeline} uses it",
            )

    async def _start(self, deployment_id: str, start: Start) -> None:
        """Returns as soon as the deployment exists, started or not."""
        try:
            await self._api.start(
                start.model_id, _start_request(deployment_id, start), extra_timeout_s=0.0
            )
        except (StartTimedOut, AlreadyStarted, DeploymentExists):
            return


def _settings_of(change: SetAllocations | SetBounds) -> _Settings:
    match change:
        case SetAllocations(allocations, take_over):
            return _Settings(
                allocations, AdaptivePatchDocument(enabled=False) if take_over else UNSET
            )
        case SetBounds(minimum, maximum):
            return _Settings(
                adaptive=AdaptivePatchDocument(
                    enabled=True,
                    min_number_of_allocations=minimum,
                    max_number_of_allocations=maximum or None,
                )
            )


def _has(present: DeploymentStats, wanted: _Settings) -> bool:
    adaptive = present.adaptive
    if adaptive is not None and adaptive.enabled:
        return _settings_of(SetBounds(adaptive.minimum or 0, adaptive.maximum or 0)) == wanted
    return wanted.allocations == present.allocations


def _other_settings(present: DeploymentStats) -> _Settings:
    """Settings that the deployment has and its endpoint cannot have stored with the desired ones.

    Settings of adaptive allocations replace a stored number, so that no undesired number has to be
    sent.
    """
    adaptive = present.adaptive
    if adaptive is not None and adaptive.enabled:
        return _Settings(adaptive=_settings(adaptive))
    return _Settings(adaptive=AdaptivePatchDocument(enabled=False))


def _start_request(deployment_id: str, start: Start) -> StartRequest:
    """The body of `_start`, with the settings that cannot be changed later."""
    scales_itself = start.adaptive is not None and start.adaptive.enabled
    return StartRequest(
        # Before 8.8 the field does not exist, and the id is always that of the model.
        deployment_id=UNSET if deployment_id == start.model_id else deployment_id,
        timeout=_START_TIMEOUT,
        wait_for="starting",
        number_of_allocations=UNSET if scales_itself else start.allocations,
        threads_per_allocation=_or_unset(start.threads_per_allocation),
        queue_capacity=_or_unset(start.queue_capacity),
        cache_size=UNSET if start.cache_bytes is None else f"{start.cache_bytes}b",
        priority=start.priority,
        adaptive_allocations=UNSET if start.adaptive is None else _settings(start.adaptive),
    )


def _settings(adaptive: AdaptiveAllocations) -> AdaptivePatchDocument:
    return AdaptivePatchDocument(
        enabled=adaptive.enabled,
        min_number_of_allocations=_or_unset(adaptive.minimum),
        max_number_of_allocations=_or_unset(adaptive.maximum),
    )


def _or_unset(value: int | None) -> int | UnsetType:
    return UNSET if value is None else value


def _agrees(service_settings: Mapping[str, Any], requested: AdaptivePatchDocument) -> bool:
    """Whether the settings of adaptive allocations of an endpoint are the requested ones."""
    stored = service_settings.get("adaptive_allocations")
    settings = stored if isinstance(stored, dict) else {}
    if not requested.enabled:
        return not settings.get("enabled")
    return (
        settings.get("enabled") is True
        and settings.get("min_number_of_allocations") == requested.min_number_of_allocations
        and settings.get("max_number_of_allocations") == requested.max_number_of_allocations
    )


def _not_permitted(inference_id: str, error: Forbidden) -> UpdateFailed:
    """The outcome where the endpoint, and nothing else, may not be changed."""
    if not isinstance(error, MissingPrivilege):
        return UpdateFailed(
            OutcomeKind.ENDPOINT_OWNED,
            f"{inference_id} was not changed: inference endpoint {inference_id} owns it: {error}",
        )
    return UpdateFailed(
        OutcomeKind.ENDPOINT_OWNED,
        f"{inference_id} was not changed: inference endpoint {inference_id} owns it, and changing "
        f"it needs the cluster privilege manage_inference; grant it{_to(error)}, or exclude the "
        "deployment",
    )


def _to(error: MissingPrivilege) -> str:
    return f" to {error.user}" if error.user else ""
