"""Memory by the formulas of the planner: reservations, not measurements.

Source: elastic/elasticsearch, core/action/StartTrainedModelDeploymentAction.java and
ml/job/NodeLoadDetector.java.
"""

from msgspec import Struct

MIB = 2**20

NATIVE_CODE_OVERHEAD_BYTES = 30 * MIB
"""Reserved once on each node that runs a native process, in bytes."""

_BASE_BYTES = 240 * MIB
_ELSER_BYTES = 2004 * MIB
_ELSER_IDS = (".elser_model_1", ".elser_model_2")


class MemoryReservation(Struct, frozen=True, kw_only=True):
    """The memory of one node for machine learning, and its reserved part."""

    ml_max_bytes: int
    native_code_overhead_bytes: int
    native_inference_bytes: int


def required_bytes(model_id: str, model_bytes: int, cache_bytes: int) -> int:
    """Memory that a deployment of a model needs on each of its nodes."""
    elser = model_id.startswith(_ELSER_IDS)
    needed = _ELSER_BYTES if elser else _BASE_BYTES + 2 * model_bytes
    return needed + max(0, cache_bytes - model_bytes)
