"""The last completed cycle as metrics.

The metrics are made at scrape time from the last observation and plan, so that a deployment that
vanished leaves no series, and recording a cycle costs nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import Metric
from prometheus_client.samples import Sample

from autoscaler.adapters.prometheus import cluster_families, families, shadow_families, slo_families
from autoscaler.adapters.prometheus.families import DecisionRow, FieldMetric, MetricFamily
from autoscaler.adapters.prometheus.node_labels import by_label
from autoscaler.core.condition import Level, condition
from autoscaler.core.decision import Decision, Outcome, Plan
from autoscaler.core.rollout_comparison import BlockTotals
from autoscaler.core.rollout_status import RolloutStatus, RolloutVerdict
from autoscaler.core.values import Cluster, DeploymentStats, NodeStats, Observation, Reason
from autoscaler.shared_labels import Labels, SharedLabels

T = TypeVar("T")
Rows = Sequence[tuple[Labels, T]]


def collect_cycle(
    observation: Observation,
    plan: Plan,
    outcomes: tuple[Outcome, ...],
    node_labels: Mapping[str, str],
    *,
    per_node: bool,
) -> Iterator[Metric]:
    """All families about one cycle, with their samples.

    Args:
        node_labels: by node id.
        per_node: includes those of each deployment on each node.
    """
    known = {id_: SharedLabels({"deployment": id_}) for id_ in observation.deployments}
    yield from _deployments([(known[id_], each) for id_, each in observation.deployments.items()])
    nodes = [
        (SharedLabels({"deployment": stats.deployment_id, "node": label}), node)
        for stats in observation.deployments.values()
        if per_node
        for label, node in by_label(stats.nodes, node_labels).items()
    ]
    yield from _nodes(nodes)
    yield _process_memory(observation, node_labels)
    yield family(families.PER_NODE, [({}, float(per_node))])
    yield from _cluster(observation.cluster, node_labels)
    yield from _decisions(observation, plan, known)
    levels = [(each.decision.deployment_id, condition(each).level) for each in outcomes]
    levels += [(id_, Level.UNMANAGED) for id_ in plan.unmanaged]
    yield family(
        families.LEVEL,
        [({"deployment": id_, "level": str(level)}, 1.0) for id_, level in levels],
    )
    yield family(families.UNREADABLE, [({}, len(observation.unreadable))])
    yield family(families.LEFT_OUT, [({}, observation.left_out)])
    due = plan.next_poll
    yield family(families.NEXT_POLL, [] if due is None else [({}, due.within_s)])


def _deployments(rows: Rows[DeploymentStats]) -> Iterator[Metric]:
    for field_metric in cluster_families.DEPLOYMENT:
        yield _measured(field_metric, rows)
    yield family(
        cluster_families.DEPLOYMENT_INFO,
        [({**own, "model": s.model_id, "priority": s.priority}, 1.0) for own, s in rows],
    )
    yield _states(cluster_families.DEPLOYMENT_STATE, [(own, s.state) for own, s in rows])
    yield _states(cluster_families.ALLOCATION_STATE, [(own, s.allocation_state) for own, s in rows])


def _process_memory(observation: Observation, node_labels: Mapping[str, str]) -> Metric:
    used: dict[str, int] = {}
    for stats in observation.deployments.values():
        for label, node in by_label(stats.nodes, node_labels).items():
            if node.memory_bytes is not None:
                used[label] = used.get(label, 0) + node.memory_bytes
    return family(
        cluster_families.PROCESS_MEMORY,
        [({"node": label}, float(total)) for label, total in used.items()],
    )


def _nodes(rows: Rows[NodeStats]) -> Iterator[Metric]:
    for field_metric in cluster_families.NODE:
        yield _measured(field_metric, rows)
    yield _states(cluster_families.ROUTING_STATE, [(own, node.routing_state) for own, node in rows])


def _cluster(cluster: Cluster | None, node_labels: Mapping[str, str]) -> Iterator[Metric]:
    rows = (
        [({"node": node_labels[node.node_id]}, node) for node in cluster.nodes] if cluster else []
    )
    for field_metric in cluster_families.CAPACITY:
        yield _measured(field_metric, rows)
    yield family(
        cluster_families.NODE_INFO,
        [
            ({**own, "node_id": node.node_id, "name": node.name, "version": node.version}, 1.0)
            for own, node in rows
        ],
    )
    for cluster_metric in cluster_families.CLUSTER:
        yield _measured(cluster_metric, [({}, cluster)] if cluster else [])


def _decisions(
    observation: Observation, plan: Plan, known: Mapping[str, Labels]
) -> Iterator[Metric]:
    rows = [
        (
            known[decision.deployment_id],
            DecisionRow(decision, observation.deployments[decision.deployment_id]),
        )
        for decision in plan.decisions
        if decision.deployment_id in observation.deployments
    ]
    for field_metric in families.DECISION:
        yield _measured(field_metric, rows)
    # An externally controlled deployment has a rule, and is not managed by it.
    managed = [
        (
            {
                **own,
                "rule": row.decision.rule,
                "reason": str(row.decision.reason) if row.decision.externally_controlled else "",
            },
            float(not row.decision.externally_controlled),
        )
        for own, row in rows
    ]
    not_managed = [
        ({"deployment": id_, "rule": "", "reason": str(reason)}, 0.0)
        for id_, reason in plan.unmanaged.items()
    ]
    yield from _slo(rows)
    shadows = [(own, shadow) for own, row in rows if (shadow := row.decision.shadow) is not None]
    for shadow_metric in shadow_families.SHADOW:
        yield _measured(shadow_metric, shadows)
    yield family(
        families.CONTROL_MODE,
        [({**own, "mode": str(row.decision.mode)}, 1.0) for own, row in rows],
    )
    yield family(
        families.DECISION_REASON,
        [
            ({"deployment": each.deployment_id, "reason": str(each.reason)}, 1.0)
            for each in plan.decisions
        ],
    )
    yield family(
        families.SAMPLE_ISSUE,
        [
            ({**own, "issue": str(issue)}, 1.0)
            for own, row in rows
            for issue in row.decision.sample.issues
        ],
    )
    yield family(families.MANAGED, managed + not_managed)
    yield family(
        families.OBSERVE_ONLY,
        [
            ({**own, "reason": str(found.cause)}, 1.0)
            for own, row in rows
            if (found := row.decision.observe_only) is not None
        ],
    )
    yield family(
        families.MISSING_ALLOCATIONS,
        [
            ({**own, "cause": str(shortfall.cause)}, float(shortfall.missing))
            for own, row in rows
            if (shortfall := row.decision.shortfall) is not None
        ],
    )
    yield family(
        families.MISSING_SINCE,
        [
            (own, shortfall.since)
            for own, row in rows
            if (shortfall := row.decision.shortfall) is not None
        ],
    )
    changed = [
        (own, change, row.decision.at)
        for own, row in rows
        if (change := row.decision.external_change) is not None
    ]
    yield family(
        families.SECOND_WRITER, [(own, 1.0) for own, change, _ in changed if change.second_writer]
    )
    yield family(families.EXTERNAL_CHANGE_AT, [(own, change.at) for own, change, _ in changed])
    yield family(
        families.EXTERNAL_CHANGE_RESPECTED,
        [(own, float(change.is_kept(at))) for own, change, at in changed],
    )
    yield from _instructions(plan.decisions)
    yield from _rollouts(plan.decisions)
    stopped = [d for d in plan.decisions if d.steps[0].reason is Reason.STOPPED]
    yield family(
        families.DEPLOYMENT_STOPPED, [({"deployment": d.deployment_id}, 1.0) for d in stopped]
    )


def _instructions(decisions: Iterable[Decision]) -> Iterator[Metric]:
    """Those of operators. Where two pauses hold the same, the later end counts."""
    until: dict[tuple[str, str], float] = {}
    for decision in decisions:
        for pause in decision.pauses:
            key = decision.deployment_id, str(pause.changes)
            until[key] = max(until.get(key, 0.0), pause.until)
    paused = [
        ({"deployment": name, "changes": changes}, at) for (name, changes), at in until.items()
    ]
    yield family(families.PAUSED, [(own, 1.0) for own, _ in paused])
    yield family(families.PAUSED_UNTIL, paused)
    overrides = [
        ({"deployment": each.deployment_id}, override)
        for each in decisions
        if (override := each.override) is not None
    ]
    yield family(
        families.OVERRIDE, [(own, float(override.allocations)) for own, override in overrides]
    )
    yield family(families.OVERRIDE_UNTIL, [(own, override.until) for own, override in overrides])


def _rollouts(decisions: Iterable[Decision]) -> Iterator[Metric]:
    found = [
        ({"deployment": each.deployment_id}, each.rollout)
        for each in decisions
        if each.rollout is not None
    ]
    yield family(families.ROLLOUT, [({**own, "state": _state(each)}, 1.0) for own, each in found])
    totals = [
        ({**own, "block": block}, sums)
        for own, each in found
        for block, sums in (("active", each.active_totals), ("before", each.before_totals))
    ]
    for declared, read in _ROLLOUT_TOTALS:
        yield family(declared, [(own, read(sums)) for own, sums in totals])
    differences = [(own, each.difference) for own, each in found if each.difference is not None]
    yield family(families.ROLLOUT_DIFFERENCE, [(own, each.estimate) for own, each in differences])
    yield family(families.ROLLOUT_HALF_WIDTH, [(own, each.half_width) for own, each in differences])
    starts = [(own, at) for own, each in found if (at := each.next_active_at) is not None]
    yield family(families.ROLLOUT_NEXT_ACTIVE_AT, starts)
    yield family(families.ROLLOUT_EVIDENCE, [(own, each.evidence) for own, each in found])


_ROLLOUT_TOTALS: tuple[tuple[MetricFamily, Callable[[BlockTotals], float]], ...] = (
    (families.ROLLOUT_REQUESTS, lambda sums: sums.requests),
    (families.ROLLOUT_LATE_REQUESTS, lambda sums: sums.late),
    (families.ROLLOUT_SECONDS, lambda sums: sums.seconds),
    (families.ROLLOUT_ALLOCATION_SECONDS, lambda sums: sums.allocation_s),
)


def _state(status: RolloutStatus) -> str:
    if status.verdict is not RolloutVerdict.RUNNING:
        return status.verdict
    return "active" if status.active else "before"


def _slo(rows: Rows[DecisionRow]) -> Iterator[Metric]:
    known = [(own, slo) for own, row in rows if (slo := row.decision.slo) is not None]
    for of_slo in slo_families.SLO:
        yield _measured(of_slo, known)
    forecasts = [(own, slo.forecast) for own, slo in known if slo.forecast is not None]
    for of_forecast in slo_families.FORECAST:
        yield _measured(of_forecast, forecasts)
    recurring = [(own, slo.recurrence) for own, slo in known if slo.recurrence is not None]
    for of_recurrence in slo_families.RECURRENCE:
        yield _measured(of_recurrence, recurring)


def family(declared: MetricFamily, rows: Rows[float]) -> Metric:
    """A gauge or counter with a sample for each row of labels and value."""
    metric = Metric(declared.name, declared.help, declared.kind)
    name = sample_name(declared.name, declared.kind)
    metric.samples = [Sample(name, labels, value) for labels, value in rows]
    return metric


def sample_name(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def _measured(declared: FieldMetric[T], rows: Rows[T]) -> Metric:
    metric = Metric(declared.name, declared.help, declared.kind)
    name, read = sample_name(declared.name, declared.kind), declared.read
    metric.samples = [
        Sample(name, labels, value) for labels, row in rows if (value := read(row)) is not None
    ]
    return metric


def _states(declared: MetricFamily, rows: Rows[str]) -> Metric:
    return family(declared, [({**own, "state": state}, 1.0) for own, state in rows if state])
