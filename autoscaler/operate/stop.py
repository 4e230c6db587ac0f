"""Stop a deployment."""

from autoscaler.adapters.elasticsearch import api_errors as r
from autoscaler.adapters.elasticsearch.errors import ElasticsearchError
from autoscaler.config import Config
from autoscaler.errors import UserError
from autoscaler.operate.session import api_session, outcome_unknown
from autoscaler.ports import Clock


class StopFailed(UserError):
    """The deployment is still there, or may be. The message says why."""


async def stop(config: Config, deployment_id: str, clock: Clock, *, force: bool) -> None:
    """Remove a deployment; with `force` also one that is used.

    Raises:
        NotStopped: it was refused, or nobody knows.
        ConnectionSettingsError: the connection cannot be made as configured.
    """
    async with api_session(config, clock) as api:
        try:
            await api.stop(deployment_id, force=force, allow_no_match=False)
        except ElasticsearchError as error:
            raise StopFailed(_why_not(deployment_id, error)) from error


def _why_not(deployment_id: str, error: ElasticsearchError) -> str:
    if outcome_unknown(error):
        return (
            f"{error}; whether {deployment_id} was stopped is not known: "
            "`GET _ml/trained_models/_stats` tells"
        )
    match error:
        case r.NotFound():
            return (
                f"there is no deployment {deployment_id}; `autoscaler check` lists those there are"
            )
        case r.DeploymentInUse():
            return (
                f"{deployment_id} was not stopped, since it is used: {error.reason.rstrip('.; ')}; "
                "with --force it is stopped all the same: requests that wait are refused, and what "
                "uses it fails until it is started again"
            )
        case r.ApiError():
            advice = f"; {error.advice}" if error.advice else ""
            return f"{deployment_id} was not stopped: {error.reason.rstrip('.; ')}{advice}"
    return str(error)
