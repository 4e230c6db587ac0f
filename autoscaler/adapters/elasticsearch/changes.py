"""How a change is asked for: by which API, in which words, and what an answer leaves open.

What an inference endpoint owns is changed through the endpoint, whose stored settings would differ
otherwise, and since about 9.2 has to be. Versions before 8.17 have no way to do so, and some later
ones only for the number; there the API for trained models takes the change.

Source: elastic/elasticsearch, `TransportUpdateTrainedModelDeploymentAction.java`,
`TransportUpdateInferenceModelAction.java`, `TransportStartTrainedModelDeploymentAction.java`.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.api_errors import (
    AlreadyStarted,
    ApiError,
    BadRequest,
    DeploymentExists,
    MissingPrivilege,
    NotFound,
    OwnedByEndpoint,
    StartTimedOut,
)
from autoscaler.adapters.elasticsearch.error_mapping import outcome_kind_of
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.adapters.elasticsearch.ownership import Ownership
from autoscaler.core.values import (
    AdaptiveAllocations,
    Change,
    OutcomeKind,
    SetAllocations,
    SetBounds,
    Start,
    Stop,
)
from autoscaler.ports import UpdateFailed
from autoscaler.wire.deployments import AdaptivePatchDocument, StartRequest
from autoscaler.wire.inference import EndpointDocument

# The control loop waits meanwhile. What a longer wait would tell, the next observation tells, too.
_START_TIMEOUT = "5s"


class _Settings(Struct, frozen=True):
    allocations: int | UnsetType = UNSET
    adaptive: AdaptivePatchDocument | UnsetType = UNSET


class ChangeExecutor:
    """Carries changes out; see `ports.Actuator`."""

    def __init__(self, api: ElasticsearchApi, ownership: Ownership) -> None:
        self._api = api
        self._ownership = ownership

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
            raise UpdateFailed(outcome_kind_of(error), str(error)) from error

    async def _update(self, deployment_id: str, settings: _Settings) -> None:
        endpoint = self._ownership.owner_of(deployment_id)
        if endpoint is None:
            try:
                return await self._update_deployment(deployment_id, settings)
            except OwnedByEndpoint as conflict:
                endpoint = await self._owner_after(conflict, deployment_id)
        refusal: ApiError | None = None
        try:
            if await self._update_endpoint(endpoint, settings):
                return None
        except (BadRequest, NotFound) as error:
            # No such API, nothing of the kind through it, or the endpoint is gone.
            refusal = error
        try:
            return await self._update_deployment(deployment_id, settings)
        except OwnedByEndpoint as conflict:
            raise refusal or conflict from conflict

    async def _update_deployment(self, deployment_id: str, settings: _Settings) -> None:
        await self._api.update(
            deployment_id, allocations=settings.allocations, adaptive=settings.adaptive
        )

    async def _update_endpoint(self, endpoint: EndpointDocument, settings: _Settings) -> bool:
        """Whether the endpoint has taken all of it: one lever a call, for it refuses both at once.

        The cluster's own scaler is switched off first, since a number is refused while it is on.
        """
        try:
            if settings.adaptive is not UNSET:
                updated = await self._api.update_endpoint(endpoint, adaptive=settings.adaptive)
                if not _agrees(updated.service_settings, settings.adaptive):
                    return False
            if settings.allocations is not UNSET:
                await self._api.update_endpoint(endpoint, allocations=settings.allocations)
        except MissingPrivilege as error:
            raise _not_permitted(endpoint.inference_id, error) from error
        return True

    async def _owner_after(self, conflict: OwnedByEndpoint, deployment_id: str) -> EndpointDocument:
        """The endpoint that a refusal tells of."""
        try:
            await self._ownership.read()
        except MissingPrivilege as error:
            raise _not_permitted(deployment_id, error) from error
        except ElasticsearchError:
            raise conflict from None
        found = self._ownership.owner_of(deployment_id)
        if found is None:
            raise conflict
        return found

    async def _stop(self, deployment_id: str) -> None:
        """Asks for the owner afresh, since an endpoint would be left without what it owns."""
        try:
            await self._ownership.read()
        except MissingPrivilege as error:
            raise UpdateFailed(
                OutcomeKind.ENDPOINT_OWNED,
                f"{deployment_id} was not stopped, because it may belong to an inference endpoint; "
                f"grant monitor_inference{_to(error)}, which tells",
            ) from error
        if self._ownership.owner_of(deployment_id) is not None:
            raise UpdateFailed(
                OutcomeKind.ENDPOINT_OWNED,
                f"{deployment_id} was not stopped, because it belongs to the inference endpoint of "
                'that name; let it come down by itself, with mode = "bounds" and via = "native"',
            )
        await self._api.stop(deployment_id, force=False, allow_no_match=True, patience_s=0.0)

    async def _start(self, deployment_id: str, start: Start) -> None:
        """Returns as soon as the deployment is there, started or not."""
        try:
            await self._api.start(
                start.model_id, _start_request(deployment_id, start), patience_s=0.0
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
                    max_number_of_allocations=maximum,
                )
            )


def _start_request(deployment_id: str, start: Start) -> StartRequest:
    """Everything that cannot be changed later, and what can."""
    automatic = start.adaptive is not None and start.adaptive.enabled
    return StartRequest(
        # Before 8.8 the field does not exist, and the id is always that of the model.
        deployment_id=UNSET if deployment_id == start.model_id else deployment_id,
        timeout=_START_TIMEOUT,
        wait_for="starting",
        number_of_allocations=UNSET if automatic else start.allocations,
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


def _or_unset(number: int | None) -> int | UnsetType:
    return UNSET if number is None else number


def _agrees(service_settings: Mapping[str, Any], asked: AdaptivePatchDocument) -> bool:
    """Whether an endpoint's settings of the cluster's own scaler are those asked for."""
    stored = service_settings.get("adaptive_allocations")
    settings = stored if isinstance(stored, dict) else {}
    if not asked.enabled:
        return not settings.get("enabled")
    return (
        settings.get("enabled") is True
        and settings.get("min_number_of_allocations") == asked.min_number_of_allocations
        and settings.get("max_number_of_allocations") == asked.max_number_of_allocations
    )


def _not_permitted(inference_id: str, error: MissingPrivilege) -> UpdateFailed:
    return UpdateFailed(
        OutcomeKind.ENDPOINT_OWNED,
        f"{inference_id} belongs to the inference endpoint of that name, and changing that needs "
        f"the cluster privilege manage_inference; grant it{_to(error)}, or exclude the deployment",
    )


def _to(error: MissingPrivilege) -> str:
    return f" to {error.user}" if error.user else ""
