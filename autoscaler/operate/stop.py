"""Stop a deployment."""

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.config import Config
from autoscaler.errors import UserError
from autoscaler.operate.session import api_session, outcome_unknown
from autoscaler.ports import Clock


class StopFailed(UserError):
    """The deployment was not stopped, or may not have been. The message says why."""


async def stop(config: Config, deployment_id: str, clock: Clock, *, force: bool) -> None:
    """Stop a deployment; with `force` even if pipelines or endpoints use it.

    Raises:
        StopFailed: the request was refused, or its outcome is unknown.
        ConnectionSettingsError: the connection settings are not usable.
    """
    async with api_session(config, clock) as api:
        try:
            await api.stop(deployment_id, force=force, allow_no_match=False)
        except ElasticsearchError as error:
            raise StopFailed(_why_not(deployment_id, error)) from error


def _why_not(deployment_id: str, error: ElasticsearchError) -> str:
    if outcome_unknown(error):
        return (
            f"{error}; {deployment_id} may have been stopped: check with "
            "`GET _ml/trained_models/_stats`"
        )
    match error:
        case r.DeploymentNotFound():
            return f"deployment {deployment_id} not found; `autoscaler check` lists the deployments"
        case r.DeploymentInUse():
            return (
                f"{deployment_id} was not stopped, because it is in use: "
                f"{error.reason.rstrip('.; ')}; with --force it is stopped anyway: queued requests "
                "are refused, and its users fail until it is started again"
            )
        case r.ApiError():
            advice = f"; {error.advice}" if error.advice else ""
            return f"{deployment_id} was not stopped: {error.reason.rstrip('.; ')}{advice}"
    return str(error)
