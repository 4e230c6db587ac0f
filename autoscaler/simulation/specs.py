"""Nodes and models of a simulated cluster, as values."""

from typing import Annotated

from msgspec import Meta, Struct

GIB = 2**30
MB = 10**6

LOAD_BASE_S = 2.0
"""Seconds to load a model of size 0. An assumption."""

LOAD_BYTES_PER_S = 200 * MB
"""Bytes of a model loaded per second. A plausible assumption: a definition is fetched document by
document from an index."""


class NodeSpec(Struct, frozen=True, kw_only=True):
    """One ML node."""

    node_id: str
    name: str
    processors: Annotated[int, Meta(ge=1)] = 8
    memory_bytes: Annotated[int, Meta(ge=1)] = 16 * GIB
    zone: str = ""
    physical_cores: int | None = None  # fewer than the processors with simultaneous threads
    hardware_threads: int | None = None  # that native processes see; None: the processors

    @property
    def cores(self) -> int:
        """Threads that run at full speed."""
        return self.processors if self.physical_cores is None else self.physical_cores


class ModelSpec(Struct, frozen=True, kw_only=True):
    """One model and its service times."""

    model_id: str
    size_bytes: int = 100 * MB
    service_time_s: float = 0.04  # mean, with one thread per allocation
    service_cv: float = 0.7  # coefficient of variation, log-normal; 0: constant
    load_s: float | None = None  # None: from the size
    cache_hit_fraction: float = 0.0
    warm_up_s: float = 0.0  # after the start of a process, service times are multiplied
    warm_up_factor: float = 1.0  # by this factor for `warm_up_s`
    process_bytes: int | None = None  # that a process uses; None: not simulated
    allocation_bytes: int = 0  # that each of its allocations uses in addition

    @property
    def loading_s(self) -> float:
        """Seconds from the start of a process until it is ready."""
        if self.load_s is not None:
            return self.load_s
        return LOAD_BASE_S + self.size_bytes / LOAD_BYTES_PER_S
