"""Readings -> observations of deployments, as the daemon had them."""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from autoscaler.core.values import AdaptiveAllocations, DeploymentStats, NodeStats
from autoscaler.importing.readings import Entity, Readings, Values
from autoscaler.wire.intervals import Hardware, HardwareNode

_NOTHING: Values = {}

_COUNTED_FROM: Mapping[str, tuple[str, ...]] = {
    "cache_hits": ("cache_hits",),
    "failed": ("errors", "rejections", "timeouts"),
    "busy_s": ("busy_s",),
    "in_flight": ("pending",),
}
"""The figures of a node from which those of an interval follow."""


class DeploymentReading(Struct, frozen=True, kw_only=True):
    """One deployment in one reading."""

    at: float  # of the observation, Unix seconds
    stats: DeploymentStats
    figures: Mapping[str, float]  # of the deployment, by field
    outcome: str  # of the last update
    outcome_at: float
    incomplete: bool  # the daemon says that the statistics of a node were missing
    missing: frozenset[str]  # figures of an interval for which the source lacks a metric by node

    @property
    def by_node(self) -> bool:
        """Whether there are metrics by node, or no nodes."""
        return bool(self.stats.nodes) or self.stats.allocations == 0


def deployments_of(readings: Readings) -> dict[str, list[Entity]]:
    """The nodes of each deployment."""
    found: dict[str, list[Entity]] = {}
    for entity in {*readings.values, *readings.texts}:
        if entity.deployment:
            nodes = found.setdefault(entity.deployment, [])
            if entity.node:
                nodes.append(entity)
    return {id_: sorted(nodes) for id_, nodes in sorted(found.items())}


def deployment_reading(
    readings: Readings, deployment: str, nodes: list[Entity], instant: float
) -> DeploymentReading | None:
    """None if the deployment was not exported then."""
    entity = Entity(deployment)
    figures = _at(readings.values.get(entity, _NOTHING), instant)
    if "requested" not in figures and "running" not in figures and "completed" not in figures:
        return None
    outcome, outcome_at = _text(readings, entity, "outcome", instant)
    found = [each for node in nodes if (each := _node_stats(readings, node, instant)) is not None]
    stats = DeploymentStats(
        deployment_id=deployment,
        model_id=_text(readings, entity, "model", instant)[0],
        state=_text(readings, entity, "state", instant)[0],
        allocations=_count(figures, "requested"),
        running_allocations=_count(figures, "running"),
        target_allocations=_count(figures, "target"),
        threads_per_allocation=_count(figures, "threads"),
        queue_capacity=_count(figures, "queue_capacity"),
        server_created_at=figures.get("created_at"),
        adaptive=_adaptive(figures),
        # The sums are compared with the nodes by the daemon.
        completed=None,
        errors=None,
        rejections=None,
        timeouts=None,
        nodes=tuple([node for node, _ in found]),
    )
    return DeploymentReading(
        at=readings.observed_at[instant],
        stats=stats,
        figures=figures,
        outcome=outcome,
        outcome_at=outcome_at,
        incomplete=instant in readings.incomplete.get(deployment, ()),
        missing=frozenset().union(*[missing for _, missing in found]),
    )


def hardware(readings: Readings) -> Iterator[Hardware]:
    """The nodes at each reading at which they differ from the one before."""
    entities = sorted(each for each in {*readings.values, *readings.texts} if not each.deployment)
    before: tuple[HardwareNode, ...] = ()
    for instant, at in sorted(readings.observed_at.items()):
        nodes, versions = [], set()
        for entity in entities:
            figures = _at(readings.values.get(entity, _NOTHING), instant)
            version = _text(readings, entity, "version", instant)[0]
            if not figures and not version:
                continue
            nodes.append(
                HardwareNode(
                    id=entity.node,
                    processors=figures.get("processors"),
                    memory_bytes=_count(figures, "memory_bytes"),
                )
            )
            versions.add(version)
        if nodes and tuple(nodes) != before:
            before = tuple(nodes)
            yield Hardware(at=at, nodes=before, version=_lowest(versions))


def _lowest(versions: set[str]) -> str:
    def parts(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"[0-9]{1,9}", version.partition("-")[0])]

    return min(filter(None, versions), key=parts, default="")


def _node_stats(
    readings: Readings, entity: Entity, instant: float
) -> tuple[NodeStats, frozenset[str]] | None:
    """The statistics, and the figures of an interval that they do not have; None if the deployment
    was not on the node."""
    figures = _at(readings.values.get(entity, _NOTHING), instant)
    routing_state, _ = _text(readings, entity, "routing_state", instant)
    if not figures and not routing_state:
        return None
    # Without these, it is a node that did not respond.
    reports = all(name in figures for name in ("started_at", "completed"))
    stats = NodeStats(
        node_id=entity.node,
        routing_state=routing_state or "started",
        server_started_at=figures.get("started_at") if reports else None,
        server_last_access_at=figures.get("last_access_at"),
        allocations=_count(figures, "allocations"),
        completed=_count(figures, "completed") or 0,
        cache_hits=_count(figures, "cache_hits") or 0,
        errors=_count(figures, "errors") or 0,
        rejections=_count(figures, "rejections") or 0,
        timeouts=_count(figures, "timeouts") or 0,
        busy_s=figures.get("busy_s", 0.0),
        pending=_count(figures, "pending") or 0,
    )
    missing = [
        figure
        for figure, names in _COUNTED_FROM.items()
        if not all(name in figures for name in names)
    ]
    return stats, frozenset(missing if reports else ())


def _adaptive(figures: Mapping[str, float]) -> AdaptiveAllocations | None:
    """None, for unknown settings or none; the requested allocations say which."""
    if "adaptive" not in figures or ("adaptive_minimum" not in figures and not figures["adaptive"]):
        return None
    return AdaptiveAllocations(
        enabled=figures["adaptive"] > 0.0,
        minimum=_count(figures, "adaptive_minimum"),
        maximum=_count(figures, "adaptive_maximum"),
    )


def _at(values: Values, instant: float) -> dict[str, float]:
    return {name: points[instant] for name, points in values.items() if instant in points}


def _text(readings: Readings, entity: Entity, name: str, instant: float) -> tuple[str, float]:
    texts = readings.texts.get(entity)
    return ("", 0.0) if texts is None else texts.get(name, {}).get(instant, ("", 0.0))


def _count(figures: Mapping[str, float], name: str) -> int | None:
    found = figures.get(name)
    return None if found is None else round(found)
