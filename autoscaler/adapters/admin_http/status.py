"""The status and the deployments, as endpoints."""

from collections.abc import Callable
from functools import partial

from autoscaler.adapters.admin_http.decisions import DecisionRecorder
from autoscaler.adapters.admin_http.endpoints import ONE_DEPLOYMENT, ApiCall, Endpoint, LazyResponse
from autoscaler.adapters.admin_http.health import Health
from autoscaler.wire.decision_views import DeploymentResponse
from autoscaler.wire.shadow_views import ShadowResponse
from autoscaler.wire.status_views import DeploymentsQuery, StatusResponse, SummariesResponse
from autoscaler.wire.summaries import summary

_NOT_OBSERVED = {503: "The cluster has not been observed yet."}


def status_endpoints(
    decisions: DecisionRecorder,
    health: Health,
    cluster: str,
    state_saved: Callable[[], bool | None],
) -> tuple[Endpoint, ...]:
    """
    Args:
        cluster: its name; empty: it has none.
        state_saved: whether the state is saved; None: unknown.
    """

    async def status(_call: ApiCall) -> LazyResponse:
        return LazyResponse(lambda: _status(decisions, health, cluster, state_saved()))

    async def deployments(call: ApiCall) -> LazyResponse:
        return LazyResponse(partial(_summaries, decisions, call.query.deployment))

    async def deployment(call: ApiCall) -> LazyResponse:
        return LazyResponse(partial(decisions.get_deployment, call.deployment_id))

    async def shadow(call: ApiCall) -> LazyResponse:
        return LazyResponse(partial(decisions.get_shadow, call.deployment_id))

    return (
        Endpoint(
            name="status",
            method="GET",
            path="/status",
            summary="The daemon and its cluster at a glance",
            response=StatusResponse,
            handler=status,
        ),
        Endpoint(
            name="deployments",
            method="GET",
            path="/deployments",
            summary="All deployments at a glance",
            response=SummariesResponse,
            handler=deployments,
            query=DeploymentsQuery,
            errors=_NOT_OBSERVED,
        ),
        Endpoint(
            name="deployment",
            method="GET",
            path=ONE_DEPLOYMENT,
            summary="One deployment: the last decision, with every step and its inputs",
            response=DeploymentResponse,
            handler=deployment,
            errors={404: "The cluster has no such deployment.", **_NOT_OBSERVED},
        ),
        Endpoint(
            name="deployment_shadow",
            method="GET",
            path=f"{ONE_DEPLOYMENT}/shadow",
            summary="What a dry run would have done with one deployment, by day, beside what ran",
            response=ShadowResponse,
            handler=shadow,
            errors={
                404: "The cluster has no such deployment, or it is in no dry run.",
                **_NOT_OBSERVED,
            },
        ),
    )


def _status(
    decisions: DecisionRecorder, health: Health, cluster: str, state_saved: bool | None
) -> StatusResponse:
    not_alive, not_ready = health.why_not_alive(), health.why_not_ready()
    found = decisions.header() if decisions.has_observed else None
    return StatusResponse(
        autoscaler=decisions.version,
        cluster=cluster,
        alive=not_alive is None,
        ready=not_ready is None,
        problem=not_alive or not_ready or "",
        observed_at=None if found is None else found.at,
        age_s=None if found is None else found.age_s,
        reload_failure=decisions.reload_failure,
        next_poll=None if found is None else found.next_poll,
        leadership=decisions.leadership_view(),
        instructions=decisions.instruction_views(),
        deployments=None if found is None else decisions.counts(),
        state_saved=state_saved,
    )


def _summaries(decisions: DecisionRecorder, glob: str) -> SummariesResponse:
    found = decisions.list_deployments(glob)
    return SummariesResponse(
        autoscaler=found.autoscaler,
        at=found.at,
        age_s=found.age_s,
        failure=found.failure,
        reload_failure=found.reload_failure,
        next_poll=found.next_poll,
        leadership=found.leadership,
        deployments=tuple(map(summary, found.deployments)),
    )
