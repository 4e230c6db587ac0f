"""Memory by the formulas of the planner, which are reservations; and what a process uses.

Source of the formulas: elastic/elasticsearch,
core/action/StartTrainedModelDeploymentAction.java and ml/job/NodeLoadDetector.java.
"""

import math
from enum import StrEnum

from msgspec import Struct

MIB = 2**20

NATIVE_CODE_OVERHEAD_BYTES = 30 * MIB
"""Reserved once on each node that runs a native process, in bytes."""

_BASE_BYTES = 240 * MIB
ELSER_IDS = (".elser_model_1", ".elser_model_2")
"""The ids of ELSER models begin like this."""

ELSER_BYTES = 2004 * MIB
"""Reserved for a process of ELSER, whatever its allocations, in bytes (#156335)."""

ELSER_ALLOCATION_BYTES = 1536 * MIB
"""What each allocation of ELSER really uses, in bytes (#157468)."""


class MemoryReservation(Struct, frozen=True, kw_only=True):
    """The memory of one node for machine learning, and its reserved part."""

    ml_max_bytes: int
    native_code_overhead_bytes: int
    native_inference_bytes: int


def required_bytes(model_id: str, model_bytes: int, cache_bytes: int) -> int:
    """Memory that a deployment of a model needs on each of its nodes."""
    elser = model_id.startswith(ELSER_IDS)
    needed = ELSER_BYTES if elser else _BASE_BYTES + 2 * model_bytes
    return needed + max(0, cache_bytes - model_bytes)


def automatic_ml_bytes(machine_bytes: int) -> int:
    """Memory for machine learning on a machine, where it is what the JVM and the system leave."""
    left = machine_bytes_for_processes(machine_bytes)
    return machine_bytes // 100 if left <= 0 else min(left, machine_bytes * 9 // 10)


class MemoryStatistics(StrEnum):
    """What the statistics report about the memory of processes."""

    NONE = "none"
    PROCESS = "process"  # of each process
    MODEL = "model"  # and that of each model, and its peak


JVM_HEAP_BYTES = 2**30
"""The heap of the JVM of a node, in bytes."""

_SYSTEM_BYTES = 200 * MIB  # for everything else on the machine, as Elasticsearch assumes

GROWTH_REQUESTS = 8.0
"""Requests after which an allocation has shown about two thirds of its memory. Made up."""


def machine_bytes_for_processes(machine_bytes: int) -> int:
    """Bytes that native processes may use before the machine is out of memory."""
    return machine_bytes - JVM_HEAP_BYTES - _SYSTEM_BYTES


class ResidentMemory:
    """The memory of one process: a fixed part, and a part for each allocation that grows with its
    first requests. The process keeps what it has used."""

    def __init__(self, fixed_bytes: int, allocation_bytes: int) -> None:
        self._fixed_bytes, self._allocation_bytes = fixed_bytes, allocation_bytes
        self._most = 0  # allocations that the process has had
        self._shown = 0.0  # of their memory, in allocations
        self.peak_bytes = fixed_bytes

    def serve(self, requests: int, allocations: int) -> None:
        self._most = max(self._most, allocations)
        if self._most > 0:
            hidden = (self._most - self._shown) * math.exp(
                -requests / (GROWTH_REQUESTS * self._most)
            )
            self._shown = self._most - hidden
        self.peak_bytes = max(self.peak_bytes, self.bytes_used)

    @property
    def bytes_used(self) -> int:
        return self._fixed_bytes + round(self._allocation_bytes * self._shown)
