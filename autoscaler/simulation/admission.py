"""Requests that the state of the cluster rules out, checked in the order of the API.

Source: elastic/elasticsearch,
ml/action/Transport{Start,Update,Stop}TrainedModelDeploymentAction.java.
"""

from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError, conflict, not_found
from autoscaler.simulation.specs import ModelSpec
from autoscaler.simulation.state import ClusterState

START_ACTION = "cluster:admin/xpack/ml/trained_models/deployment/start"
"""The name of `_start` as an action, for privileges and in messages."""

LANGUAGE_IDENTIFICATION = "lang_ident_model_1"
"""The built-in model of every cluster, which cannot be deployed."""

MAX_DEPLOYMENTS = 100
"""Deployments that a cluster may have."""


class Conditions:
    """Conditions that scenarios may set at any time.

    Attributes:
        can_grow: nodes can be added, so increases are accepted in part.
        upgrade_mode: ML upgrade mode is on; nothing can be started.
        mixed_versions: a rolling upgrade is in progress; nothing can be started.
        feature_reset: the ML feature is being reset; nothing can be started.
        inference_endpoints: ids of endpoints; each owns the deployment of the same id.
        attached_endpoints: endpoint id -> id of a deployment that existed before it.
        pipelines: ingest pipeline id -> id of the deployment or model that it uses.
    """

    def __init__(self, *, can_grow: bool) -> None:
        self.can_grow = can_grow
        self.upgrade_mode = False
        self.mixed_versions = False
        self.feature_reset = False
        self.inference_endpoints: set[str] = set()
        self.attached_endpoints: dict[str, str] = {}
        self.pipelines: dict[str, str] = {}


def model_of(state: ClusterState, model_id: str) -> ModelSpec:
    """The model with this id; raises the 404."""
    if model_id not in state.models:
        raise not_found(model_id, f"Could not find trained model [{model_id}]")
    return state.models[model_id]


def startable(
    state: ClusterState, conditions: Conditions, model_id: str, deployment_id: str
) -> ModelSpec:
    """The model to start as `deployment_id`; raises the reason why it cannot be started."""
    if conditions.upgrade_mode:
        reason = f"Cannot perform {START_ACTION} action while upgrade mode is enabled"
        raise SimulatedApiError(429, "status_exception", reason)
    if conditions.mixed_versions:
        reason = "Cannot start a deployment while the nodes have different versions"
        raise SimulatedApiError(403, "status_exception", f"{reason}: an upgrade is in progress")
    if deployment_id in state.deployments:
        raise _bad(f"an existing deployment with the same id [{deployment_id}] exist")
    if model_id in conditions.inference_endpoints:
        raise _bad(f"the model id [{model_id}] is the id of an inference endpoint")
    if model_id == LANGUAGE_IDENTIFICATION:
        raise _bad(f"model [{model_id}] is not of type [pytorch] and cannot be deployed")
    model = model_of(state, model_id)
    if len(state.deployments) >= MAX_DEPLOYMENTS:
        reason = f"the limit of [{MAX_DEPLOYMENTS}] deployments is reached"
        raise SimulatedApiError(
            429, "status_exception", f"Cannot start [{deployment_id}]: {reason}"
        )
    if conditions.feature_reset:
        raise conflict("Cannot start a deployment while the ML feature is being reset")
    if deployment_id != model_id and deployment_id in state.models:
        raise _bad(f"deployment id [{deployment_id}] is the id of another model")
    return model


def check_owner(state: ClusterState, conditions: Conditions, deployment_id: str) -> None:
    """Refuse the update of a deployment of an inference endpoint, in versions that do."""
    owned = deployment_id in conditions.inference_endpoints
    if owned and state.behaviour.endpoint_owned_conflict:
        raise conflict(
            f"Cannot update deployment [{deployment_id}] as it was created by inference endpoint "
            f"[{deployment_id}]. It must be updated through the inference API."
        )


def check_unused(
    state: ClusterState, conditions: Conditions, deployment: SimulatedDeployment
) -> None:
    """Refuse to stop a deployment that a pipeline or an inference endpoint uses."""
    name = deployment.deployment_id
    used_as = {name, deployment.model_id}
    pipelines = sorted(key for key, used in conditions.pipelines.items() if used in used_as)
    attached = sorted(key for key, used in conditions.attached_endpoints.items() if used == name)
    reliance = None
    if pipelines:
        reliance = f"is used by ingest pipelines {pipelines}"
    elif state.behaviour.stop_guard and name in conditions.inference_endpoints:
        reliance = f"was created by inference endpoint [{name}]"
    elif state.behaviour.stop_guard and attached:
        reliance = f"is used by inference endpoints {attached}"
    if reliance:
        raise conflict(
            f"Cannot stop deployment [{name}] as it {reliance}; use force to stop the deployment"
        )


def _bad(reason: str) -> SimulatedApiError:
    return SimulatedApiError(
        400, "status_exception", f"Could not start model deployment because {reason}"
    )
