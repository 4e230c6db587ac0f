"""Small clusters for tests."""

from collections.abc import Iterator

import numpy as np

from autoscaler.simulation.cluster import ModelSpec, NodeSpec, SimulatedCluster, SimulatedDeployment
from autoscaler.simulation.versions import behaviour_of
from autoscaler.simulation.workload import Arrival, steady

START = 1_000_000.0


def node(name: str, processors: int = 4, zone: str = "", **other) -> NodeSpec:
    return NodeSpec(node_id=name, name=name, processors=processors, zone=zone, **other)


def model(model_id: str = "acme", service_time_s: float = 0.1, **other) -> ModelSpec:
    return ModelSpec(model_id=model_id, service_time_s=service_time_s, **other)


def cluster(
    *nodes: NodeSpec, models: tuple[ModelSpec, ...] = (), version: str = "9.3", **other
) -> SimulatedCluster:
    return SimulatedCluster(
        nodes or (node("a"), node("b")),
        models or (model(), model("other")),
        behaviour=behaviour_of(version),
        seed=other.pop("seed", 7),
        now=START,
        **other,
    )


def after(world: SimulatedCluster, seconds: float) -> SimulatedCluster:
    world.advance(world.now + seconds)
    return world


def targets(deployment: SimulatedDeployment) -> dict[str, int]:
    return dict(deployment.targets)


def load(world: SimulatedCluster, rate_per_s: float, seed: int = 1) -> Iterator[Arrival]:
    return steady(rate_per_s, start=world.now, rng=np.random.default_rng(seed))
