"""Builds the emulation of a scenario: the cluster, its loads and its users."""

from autoscaler.ports import Clock
from autoscaler.simulation.cluster import AdaptiveSettings, ModelSpec, NodeSpec, SimulatedCluster
from autoscaler.simulation.emulator.emulation import Emulation, InferenceEndpoint, settings_of
from autoscaler.simulation.emulator.security import Security, User
from autoscaler.simulation.errors import SimulatedApiError
from autoscaler.simulation.memory import (
    ELSER_ALLOCATION_BYTES,
    ELSER_BYTES,
    ELSER_IDS,
    MemoryStatistics,
)
from autoscaler.simulation.scenario import (
    Adaptive,
    ClusterScenario,
    ClusterScenarioError,
    ScenarioDeployment,
    ScenarioEndpoint,
    ScenarioModel,
    ScenarioNode,
    SecuritySettings,
    check_scenario,
)
from autoscaler.simulation.versions import behaviour_of
from autoscaler.wire.stats_document import parse_size


def build_emulation(scenario: ClusterScenario, clock: Clock) -> Emulation:
    """The emulation of a scenario, loads included, without a server.

    Raises:
        ClusterScenarioError: the scenario is inconsistent.
    """
    emulation = Emulation(
        build_cluster(scenario, now=clock.now()),
        clock,
        name=scenario.name,
        security=_security(scenario.security),
    )
    for deployment in scenario.deployments:
        if deployment.owned_by_endpoint:
            emulation.add_endpoint(
                InferenceEndpoint(
                    inference_id=deployment.id,
                    model_id=deployment.model_id,
                    settings=settings_of(emulation.cluster.deployments[deployment.id]),
                )
            )
        if deployment.load is not None:
            emulation.start_load(deployment.id, deployment.load)
    for endpoint in scenario.endpoints:
        emulation.add_endpoint(_inference_endpoint(endpoint, emulation.cluster))
    return emulation


def _inference_endpoint(endpoint: ScenarioEndpoint, cluster: SimulatedCluster) -> InferenceEndpoint:
    deployment = cluster.deployments[endpoint.serves]
    return InferenceEndpoint(
        inference_id=endpoint.inference_id,
        model_id=deployment.model_id,
        task_type=endpoint.task_type,
        service=endpoint.service,
        deployment_id=endpoint.deployment_id or None,
        settings=settings_of(deployment),
        broken=endpoint.broken,
    )


def _security(settings: SecuritySettings | None) -> Security | None:
    if settings is None:
        return None
    passwords: dict[str, User] = {}
    api_keys: dict[str, User] = {}
    tokens: dict[str, User] = {}
    for account in settings.accounts:
        user = User(username=account.username, roles=tuple(account.roles))
        if account.password is not None:
            passwords[f"{account.username}:{account.password}"] = user
        if account.token is not None:
            tokens[account.token] = User(username=user.username, roles=user.roles, by_token=True)
        if account.api_key is not None:
            key_id = account.api_key.partition(":")[0]
            api_keys[account.api_key] = User(
                username=user.username, roles=user.roles, api_key_id=key_id
            )
    roles = {name: tuple(privileges) for name, privileges in settings.roles.items()}
    return Security(passwords=passwords, api_keys=api_keys, tokens=tokens, roles=roles)


_WARM_UP_S = 600.0
"""Seconds before the start in which deployments load their models: longer than any model takes."""


def build_cluster(scenario: ClusterScenario, *, now: float) -> SimulatedCluster:
    """The cluster of a scenario at the instant `now`, its deployments started, without load.

    Raises:
        ClusterScenarioError: a deployment cannot be started.
    """
    check_scenario(scenario)
    cluster = SimulatedCluster(
        [_node_spec(node) for node in scenario.nodes],
        [_model_spec(model, scenario.elser_memory_grows) for model in scenario.models],
        behaviour=behaviour_of(scenario.version),
        seed=scenario.seed,
        now=now - _WARM_UP_S,
        can_grow=scenario.can_grow,
        ml_memory_fraction=scenario.ml_memory_fraction,
        memory_statistics=_memory_statistics(scenario),
        out_of_memory_ends_all=scenario.out_of_memory_ends == "node",
    )
    for index, deployment in enumerate(scenario.deployments):
        try:
            _start(cluster, deployment)
        except SimulatedApiError as error:
            raise ClusterScenarioError(f"deployments[{index}]: {error.reason}") from error
    cluster.advance(now)
    return cluster


def _memory_statistics(scenario: ClusterScenario) -> MemoryStatistics:
    if scenario.memory_statistics is not None:
        return MemoryStatistics(scenario.memory_statistics)
    reported = behaviour_of(scenario.version).process_memory
    return MemoryStatistics.PROCESS if reported else MemoryStatistics.NONE


def _start(cluster: SimulatedCluster, deployment: ScenarioDeployment) -> None:
    cluster.start_deployment(
        deployment.model_id,
        deployment_id=deployment.deployment_id or None,
        number_of_allocations=deployment.number_of_allocations,
        threads_per_allocation=deployment.threads_per_allocation,
        queue_capacity=deployment.queue_capacity,
        cache_bytes=parse_size(deployment.cache_size),
        priority=deployment.priority,
        adaptive=_adaptive_settings(deployment.adaptive_allocations),
    )


def _adaptive_settings(settings: Adaptive | None) -> AdaptiveSettings | None:
    if settings is None:
        return None
    return AdaptiveSettings(
        enabled=settings.enabled,
        min_number_of_allocations=settings.min_number_of_allocations,
        max_number_of_allocations=settings.max_number_of_allocations,
    )


def _node_spec(node: ScenarioNode) -> NodeSpec:
    memory_bytes = parse_size(node.memory)
    assert memory_bytes is not None, node.memory
    return NodeSpec(
        node_id=node.node_id or node.name,
        name=node.name,
        processors=node.processors,
        memory_bytes=memory_bytes,
        zone=node.zone,
        hardware_threads=node.hardware_threads,
    )


def _model_spec(model: ScenarioModel, elser_memory_grows: bool) -> ModelSpec:
    size_bytes = parse_size(model.size)
    assert size_bytes is not None, model.size
    process_bytes = parse_size(model.process_memory)
    allocation_bytes = parse_size(model.allocation_memory) or 0
    if elser_memory_grows and process_bytes is None and model.model_id.startswith(ELSER_IDS):
        process_bytes = ELSER_BYTES - ELSER_ALLOCATION_BYTES
        allocation_bytes = ELSER_ALLOCATION_BYTES
    return ModelSpec(
        model_id=model.model_id,
        size_bytes=size_bytes,
        service_time_s=model.service_time_s,
        service_cv=model.service_cv,
        load_s=model.load_s,
        cache_hit_fraction=model.cache_hit_fraction,
        process_bytes=process_bytes,
        allocation_bytes=allocation_bytes,
    )
