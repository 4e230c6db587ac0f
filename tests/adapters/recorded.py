"""A cycle to record: one deployment scaled up, one not managed, on two nodes."""

from typing import Any

from autoscaler.core.decision import (
    CompletedRollout,
    Decision,
    Outcome,
    OutcomeKind,
    Plan,
    SetAllocations,
    Unmanaged,
)
from autoscaler.core.next_poll import NextPoll
from autoscaler.core.values import (
    AdaptiveAllocations,
    Cluster,
    DeploymentStats,
    LoadEstimate,
    NodeCapacity,
    NodeStats,
    Observation,
    Reason,
    Sample,
    Step,
)
from autoscaler.ports import CycleTimes

TOOK = CycleTimes(observe_s=0.2, plan_s=0.003, act_s=0.04)


def node(name: str = "ml-a", **changed: Any) -> NodeStats:
    fields: dict[str, Any] = {
        "node_id": f"id-of-{name}",
        "name": name,
        "routing_state": "started",
        "server_started_at": 100.5,
        "allocations": 2,
        "threads_per_allocation": 4,
        "completed": 1000,
        "cache_hits": 200,
        "errors": 1,
        "rejections": 2,
        "timeouts": 3,
        "mean_inference_s": 0.08,
        "mean_inference_without_hits_s": 0.1,
        "pending": 7,
        "server_last_access_at": 990.25,
        "throughput_last_minute": 120,
        "peak_throughput_per_minute": 600,
        "mean_inference_last_minute_s": 0.09,
        "cache_hits_last_minute": 11,
        "memory_bytes": 4096,
    }
    return NodeStats(**{**fields, **changed})


def stats(deployment_id: str = "elser", **changed: Any) -> DeploymentStats:
    fields: dict[str, Any] = {
        "deployment_id": deployment_id,
        "model_id": ".elser_model_2",
        "state": "started",
        "allocations": 3,
        "running_allocations": 2,
        "target_allocations": 3,
        "allocation_state": "started",
        "threads_per_allocation": 4,
        "queue_capacity": 1024,
        "cache_bytes": 2048,
        "adaptive": AdaptiveAllocations(enabled=False, minimum=1, maximum=9),
        "server_created_at": 50.0,
        "completed": 1000,
        "errors": 1,
        "rejections": 2,
        "timeouts": 3,
        "peak_throughput_per_minute": 600,
        "required_memory_bytes": 8192,
        "runtime_memory_bytes": 8193,
        "peak_runtime_memory_bytes": 8194,
        "nodes": (node(), NodeStats(node_id="id-of-ml-b", name="ml-b", routing_state="starting")),
    }
    return DeploymentStats(**{**fields, **changed})


LOAD = LoadEstimate(
    arrival_rate_per_s=60.0,
    throughput_per_s=20.0,
    service_time_s=0.1,
    cache_hit_fraction=0.25,
    in_flight=7,
    window_s=60.0,
)


def decision(deployment_id: str = "elser", **changed: Any) -> Decision:
    inputs = {"offered_load": 4.5, "target_utilisation": 0.7}
    fields: dict[str, Any] = {
        "deployment_id": deployment_id,
        "model_id": ".elser_model_2",
        "at": 1_000.0,
        "rule": "all",
        "dry_run": False,
        "current": 3,
        "min_allocations": 1,
        "max_allocations": 6,
        "steps": (
            Step(Reason.TARGET_TRACKING, 3, 7, inputs),
            Step(Reason.BOUNDS, 7, 6, {"min_allocations": 1, "max_allocations": 6}),
        ),
        "sample": Sample(at=1_000.0, interval_s=10.0, completed=200),
        "load": LOAD,
    } | changed
    desired = fields["steps"][-1].after
    fields.setdefault("change", SetAllocations(desired) if desired != fields["current"] else None)
    return Decision(**fields)


def steady(deployment_id: str = "elser", **changed: Any) -> Decision:
    """A decision without a change."""
    inputs = {"offered_load": 2.0, "target_utilisation": 0.7}
    steps = (Step(Reason.TARGET_TRACKING, 3, 3, inputs),)
    return decision(deployment_id, **{"steps": steps, **changed})


def outcome(of: Decision, kind: OutcomeKind, detail: str = "") -> Outcome:
    return Outcome(decision=of, kind=kind, at=of.at, detail=detail)


def observation(*deployments: DeploymentStats, at: float = 1_000.0, **more: Any) -> Observation:
    return Observation(at=at, deployments={d.deployment_id: d for d in deployments}, **more)


CLUSTER = Cluster(
    nodes=(
        NodeCapacity(
            node_id="id-of-ml-a",
            name="ml-a",
            version="8.18.3",
            processors=8.0,
            ml_memory_bytes=1 << 34,
            free_ml_memory_bytes=1 << 33,
        ),
    )
)


def cycle(
    *outcomes: Outcome,
    at: float = 1_000.0,
    unmanaged: dict[str, Unmanaged] | None = None,
    completed_rollouts: tuple[CompletedRollout, ...] = (),
    unreadable: dict[str, str] | None = None,
    next_poll: NextPoll | None = None,
) -> tuple[Observation, Plan, tuple[Outcome, ...], CycleTimes]:
    """The arguments of `Recorder.planned`."""
    unmanaged = unmanaged or {}
    ids = [*(o.decision.deployment_id for o in outcomes), *unmanaged]
    observed = observation(*map(stats, ids), at=at, unreadable=unreadable or {}, cluster=CLUSTER)
    decisions = tuple(o.decision for o in outcomes)
    plan = Plan(
        at=at,
        decisions=decisions,
        unmanaged=unmanaged,
        completed_rollouts=completed_rollouts,
        next_poll=next_poll,
    )
    return observed, plan, outcomes, TOOK
