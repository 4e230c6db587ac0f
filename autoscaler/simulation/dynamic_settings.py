"""Settings of the cluster that act while it runs.

Source: elastic/elasticsearch, ml/MachineLearning.java and
ml/inference/assignment/TrainedModelAssignmentRebalancer.java; #128914 for adaptive allocations.
"""

from collections.abc import Collection

from msgspec import Struct

from autoscaler.simulation.memory import automatic_ml_bytes
from autoscaler.simulation.specs import NodeSpec


class DynamicSettings(Struct, frozen=True, kw_only=True):
    """The settings in force."""

    ml_memory_fraction: float  # of the memory of each machine, for machine learning
    automatic_memory: bool = False  # as much as the JVM and the system leave
    max_lazy_nodes: int = 0  # ML nodes that the cluster may grow to
    max_node_bytes: int = 0  # memory that the machine of an ML node may grow to
    scale_to_zero_s: float | None = None  # None: the default of the version
    scale_up_cool_down_s: float = 300.0  # without a decrease after an increase

    def ml_bytes(self, node: NodeSpec) -> int:
        """Memory of a node for machine learning."""
        if self.automatic_memory:
            return automatic_ml_bytes(node.memory_bytes)
        return int(node.memory_bytes * self.ml_memory_fraction)

    def hardware_can_grow(self, nodes: Collection[NodeSpec]) -> bool:
        """Whether more nodes, or larger ones, may follow the demand."""
        smallest = min((node.memory_bytes for node in nodes), default=0)
        return self.max_lazy_nodes > len(nodes) or self.max_node_bytes > smallest
