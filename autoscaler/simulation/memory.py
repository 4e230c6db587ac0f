"""Memory by the planner's formulas: reservations, not measurements.

Source: elastic/elasticsearch, core/action/StartTrainedModelDeploymentAction.java and
ml/job/NodeLoadDetector.java.
"""

from msgspec import Struct

MIB = 2**20

NATIVE_CODE_OVERHEAD_BYTES = 30 * MIB
"""Charged once to a node that runs anything native."""

_BASE_BYTES = 240 * MIB
_ELSER_BYTES = 2004 * MIB
_ELSER_IDS = (".elser_model_1", ".elser_model_2")


class MemoryReservation(Struct, frozen=True, kw_only=True):
    """What one node has for machine learning, and what is reserved of it."""

    ml_max_bytes: int
    native_code_overhead_bytes: int
    native_inference_bytes: int


def required_bytes(model_id: str, model_bytes: int, cache_bytes: int) -> int:
    """Memory one deployment of a model needs on each node that it runs on."""
    elser = model_id.startswith(_ELSER_IDS)
    needed = _ELSER_BYTES if elser else _BASE_BYTES + 2 * model_bytes
    return needed + max(0, cache_bytes - model_bytes)
