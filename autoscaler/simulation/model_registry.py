"""The models of a cluster."""

from autoscaler.simulation.admission import model_of
from autoscaler.simulation.errors import SimulatedApiError, conflict
from autoscaler.simulation.memory import required_bytes
from autoscaler.simulation.specs import ModelSpec
from autoscaler.simulation.state import ClusterState


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
