"""Processes: loading, resizing, draining and crashing.

Source: elastic/elasticsearch, ml/inference/assignment/TrainedModelAssignmentNodeService.java and
ml/inference/deployment/DeploymentManager.java.
"""

from collections.abc import Callable, Mapping
from functools import partial

from autoscaler.simulation.deployment import SimulatedDeployment
from autoscaler.simulation.errors import SimulatedApiError, conflict
from autoscaler.simulation.route import (
    FAILED,
    STARTED,
    STARTING,
    STOPPING,
    Route,
    ServingProcess,
)
from autoscaler.simulation.state import ClusterState, Load

CONTROL_MESSAGE_S = 0.2
"""Seconds from a new target to a resized thread pool, on a node that already has a process."""

DRAIN_LIMIT_S = 180.0
"""Seconds after which a draining process is ended."""

RESTARTS, RESTARTS_WITHIN_S = 3, 86_400.0
"""A process is restarted at most this often within this time, in seconds."""

StartProcess = Callable[[SimulatedDeployment, str, int, int], ServingProcess]
"""Starts a process: deployment, node id, allocations, threads per allocation."""


class Lifecycle:
    """Executes targets.

    `on_ready` is called with a deployment when a process of it is ready, `on_failed` when its last
    route has failed.
    """

    def __init__(
        self,
        state: ClusterState,
        *,
        start_process: StartProcess,
        on_ready: Callable[[SimulatedDeployment], None],
        on_failed: Callable[[SimulatedDeployment], None] = lambda _: None,
        control_message_s: float = CONTROL_MESSAGE_S,
    ) -> None:
        self._state = state
        self._start_process = start_process
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._control_message_s = control_message_s

    def set_targets(self, deployment: SimulatedDeployment, targets: Mapping[str, int]) -> None:
        """Set the allocations on each node; other nodes get none."""
        for route in list(deployment.kept_routes()):
            if route.node_id not in targets:
                self._retire(deployment, route)
        for node_id, target in targets.items():
            self._set_target(deployment, node_id, target)
        self._send_targets(deployment)
        self.account(deployment)

    def remove_process(
        self, deployment: SimulatedDeployment, node_id: str, error: SimulatedApiError
    ) -> None:
        """End a process and remove its route. Its requests fail with `error`."""
        route = deployment.routes[node_id]
        self._end_process(route, error)
        self._cancel_load(route)
        del deployment.routes[node_id]
        self._slow_down(node_id)
        self._send_targets(deployment)
        self.account(deployment)

    def crash(self, deployment: SimulatedDeployment, node_id: str) -> None:
        """A process crashes. It is restarted in place, unless it has crashed too often."""
        route, now = deployment.routes[node_id], self._state.now
        if route.state in (STOPPING, FAILED):
            self.remove_process(deployment, node_id, process_gone())
            return
        self._end_process(route, process_gone())
        self._cancel_load(route)
        self._slow_down(node_id)
        route.crashes = [at for at in route.crashes if at > now - RESTARTS_WITHIN_S] + [now]
        if route.state == STARTING:
            self._fail(deployment, route, "the model could not be loaded: its process ended")
        elif len(route.crashes) > RESTARTS:
            self._fail(deployment, route, "the process crashed too often and was not restarted")
        else:
            self._load(deployment, route)
        self.account(deployment)

    def finish_drained(self) -> None:
        """Remove draining processes that have become idle."""
        for deployment in list(self._state.deployments.values()):
            for route in list(deployment.routes.values()):
                if route.state == STOPPING and route.process and route.process.idle:
                    self._end_draining(deployment, route)

    def next_drained_at(self) -> float | None:
        """A lower bound of the instant at which the next draining process will be idle."""
        return min(
            (
                route.process.last_finish_at
                for deployment in self._state.deployments.values()
                for route in deployment.routes.values()
                if route.state == STOPPING and route.process
            ),
            default=None,
        )

    def account(self, deployment: SimulatedDeployment) -> None:
        """Add the allocation-seconds until now."""
        running = deployment.running
        assigned = sum(route.current_allocations for route in deployment.routes.values())
        deployment.max_assigned_allocations = max(deployment.max_assigned_allocations, assigned)
        deployment.ledger.accrue(self._state.now, requested=deployment.requested, running=running)

    def _set_target(self, deployment: SimulatedDeployment, node_id: str, target: int) -> None:
        route = deployment.routes.get(node_id)
        if route is None:
            route = deployment.routes[node_id] = Route(node_id, target)
            self._load(deployment, route)
        elif route.state == STOPPING:
            route.state = STARTED  # its process still has the model loaded
        elif route.state == FAILED:
            route.state, route.reason, route.current_allocations = STARTING, "", target
            self._load(deployment, route)
        elif route.state == STARTING:
            route.current_allocations = target
        route.target_allocations = target

    def _retire(self, deployment: SimulatedDeployment, route: Route) -> None:
        if route.process is None or route.process.idle or not self._state.behaviour.drains:
            self.remove_process(deployment, route.node_id, worker_shut_down())
            return
        route.state, route.target_allocations = STOPPING, 0
        self._after(DRAIN_LIMIT_S, partial(self._stop_draining, deployment, route, route.process))

    def _stop_draining(
        self, deployment: SimulatedDeployment, route: Route, process: ServingProcess
    ) -> None:
        stopping = self._has(deployment, route) and route.state == STOPPING
        if stopping and route.process is process:
            self._end_draining(deployment, route)

    def _end_draining(self, deployment: SimulatedDeployment, route: Route) -> None:
        self.remove_process(deployment, route.node_id, worker_shut_down())
        deployment.recalculate_state()

    def _send_targets(self, deployment: SimulatedDeployment) -> None:
        """Send processes their new number of allocations, unless a node is still starting."""
        if deployment.loading:
            return
        for route in deployment.kept_routes():
            if route.process and route.current_allocations != route.target_allocations:
                self._after(self._control_message_s, partial(self._resize, deployment, route))

    def _resize(self, deployment: SimulatedDeployment, route: Route) -> None:
        if not self._has(deployment, route) or deployment.loading or route.process is None:
            return
        if route.state != STARTED:
            return
        route.current_allocations = route.target_allocations
        route.process.resize(self._state.now, self._clamped(deployment, route))
        self._slow_down(route.node_id)
        self.account(deployment)

    def _load(self, deployment: SimulatedDeployment, route: Route) -> None:
        loads = self._state.nodes[route.node_id].loads
        loads.append(Load(deployment, route))
        if len(loads) == 1:
            self._begin_load(route.node_id)

    def _begin_load(self, node_id: str) -> None:
        load = self._state.nodes[node_id].loads[0]
        self._after(load.deployment.model.loading_s, partial(self._end_load, node_id, load))

    def _end_load(self, node_id: str, load: Load) -> None:
        node = self._state.nodes.get(node_id)
        if node is None or not node.loads or node.loads[0] is not load:
            return  # cancelled in the meantime
        node.loads.popleft()
        if node.loads:
            self._begin_load(node_id)
        self._ready(load.deployment, load.route)

    def _cancel_load(self, route: Route) -> None:
        node = self._state.nodes[route.node_id]
        in_progress = node.loads[0] if node.loads else None
        kept = [load for load in node.loads if load.route is not route]
        node.loads.clear()
        node.loads.extend(kept)
        if node.loads and node.loads[0] is not in_progress:
            self._begin_load(route.node_id)

    def _ready(self, deployment: SimulatedDeployment, route: Route) -> None:
        route.state, route.reason = STARTED, ""
        route.current_allocations = route.target_allocations
        threads = min(deployment.parameters.threads_per_allocation, self._hardware_threads(route))
        allocations = self._clamped(deployment, route)
        route.process = self._start_process(deployment, route.node_id, allocations, threads)
        self._slow_down(route.node_id)
        deployment.recalculate_state()
        self._send_targets(deployment)
        self.account(deployment)
        self._on_ready(deployment)

    def _clamped(self, deployment: SimulatedDeployment, route: Route) -> int:
        """The target, limited to the threads of the node, rounded up to whole allocations."""
        threads = deployment.parameters.threads_per_allocation
        return min(route.target_allocations, -(-self._hardware_threads(route) // threads))

    def _hardware_threads(self, route: Route) -> int:
        spec = self._state.nodes[route.node_id].spec
        return spec.processors if spec.hardware_threads is None else spec.hardware_threads

    def _slow_down(self, node_id: str) -> None:
        """Slow down processes where threads outnumber cores; normal priority takes precedence.

        All threads of a process count as in use. The planner ensures that threads of normal
        priority do not exceed the processors, which may be more than the cores.
        """
        node = self._state.nodes.get(node_id)
        if node is None:
            return
        running = [
            (deployment, route.process)
            for deployment in self._state.deployments.values()
            if (route := deployment.routes.get(node_id)) and route.process
        ]
        threads = {False: 0, True: 0}  # by whether of low priority
        for deployment, process in running:
            used = process.allocations * deployment.parameters.threads_per_allocation
            threads[deployment.low] += used
        for deployment, process in running:
            competing = threads[False] + (threads[True] if deployment.low else 0)
            process.slow_down = max(1.0, competing / node.spec.cores)

    def _fail(self, deployment: SimulatedDeployment, route: Route, reason: str) -> None:
        route.state, route.reason = FAILED, reason
        deployment.recalculate_state()
        self._send_targets(deployment)
        if deployment.all_failed:
            self._on_failed(deployment)

    def _end_process(self, route: Route, queued: SimulatedApiError) -> None:
        if route.process is not None:
            route.process.end(self._state.now, queued=queued)
            route.process = None

    def _has(self, deployment: SimulatedDeployment, route: Route) -> bool:
        known = self._state.deployments.get(deployment.deployment_id) is deployment
        return known and deployment.routes.get(route.node_id) is route

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._state.events.schedule(self._state.now + seconds, action)


def worker_shut_down() -> SimulatedApiError:
    """The error of requests queued at a process that is removed."""
    return SimulatedApiError(
        429, "es_rejected_execution_exception", "inference process has shutdown"
    )


def process_gone() -> SimulatedApiError:
    return conflict("inference process stopped unexpectedly")
