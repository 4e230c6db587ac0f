"""The models of a cluster."""

import re

from autoscaler.simulation.admission import LANGUAGE_IDENTIFICATION, model_of
from autoscaler.simulation.errors import SimulatedApiError, conflict, invalid_request
from autoscaler.simulation.memory import required_bytes
from autoscaler.simulation.specs import ModelSpec
from autoscaler.simulation.state import ClusterState

_MAX_ID_LENGTH = 64


def check_model_id(model_id: str) -> None:
    """Raise the 400 of an id that callers may not give to a model."""
    if not re.fullmatch("[a-z0-9]([a-z0-9_.-]*[a-z0-9])?", model_id):
        raise invalid_request(
            f"Invalid model_id; '{model_id}' can contain lowercase alphanumeric (a-z and 0-9), "
            "hyphens or underscores; must start and end with alphanumeric"
        )
    if len(model_id) > _MAX_ID_LENGTH:
        raise invalid_request(
            f"Invalid model_id; '{model_id}' cannot contain more than {_MAX_ID_LENGTH} characters"
        )


def put_model(state: ClusterState, spec: ModelSpec) -> None:
    """Add a model; raises the 400 if its id is taken."""
    if spec.model_id in state.deployments:
        raise SimulatedApiError(
            400,
            "status_exception",
            f"Cannot create model [{spec.model_id}] because a deployment has the same id",
        )
    if spec.model_id in state.models:
        raise SimulatedApiError(
            400,
            "resource_already_exists_exception",
            f"Trained machine learning model [{spec.model_id}] already exists",
        )
    state.models[spec.model_id] = spec


def delete_model(state: ClusterState, model_id: str) -> None:
    """Remove a model; raises the 404, or the 409 if it is deployed."""
    if model_id == LANGUAGE_IDENTIFICATION:
        raise SimulatedApiError(
            400,
            "status_exception",
            f"Unable to delete model [{model_id}] as it is required by machine learning",
        )
    model_of(state, model_id)
    if any(deployment.model_id == model_id for deployment in state.deployments.values()):
        raise conflict(
            f"Cannot delete model [{model_id}] as it is currently deployed; use force to delete "
            "the model"
        )
    del state.models[model_id]


def required_memory_bytes(state: ClusterState, model_id: str) -> int:
    """`required_native_memory_bytes` of the statistics of a model; 0 without allocations."""
    size_bytes = model_of(state, model_id).size_bytes
    if not any(d.requested for d in state.deployments.values() if d.model_id == model_id):
        return 0
    return required_bytes(model_id, size_bytes, size_bytes)
