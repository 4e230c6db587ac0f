"""Observations in few words, for tests."""

import json
from typing import Any

from msgspec.structs import replace

from autoscaler.config.document import ScalingTable
from autoscaler.config.rules import build_rule
from autoscaler.core.decision import Decision, Outcome, OutcomeKind
from autoscaler.core.flow.planning import Ruleset
from autoscaler.core.next_poll import Polling
from autoscaler.core.policies import UtilisationPolicy
from autoscaler.core.selection import Rule
from autoscaler.core.values import DeploymentStats, NodeStats, Observation
from autoscaler.wire.stats import parse_stats


def node(node_id: str = "n1", **given: Any) -> NodeStats:
    """A started process with one allocation and 40 ms a request."""
    fields: dict[str, Any] = {
        "node_id": node_id,
        "routing_state": "started",
        "server_started_at": 1_000.0,
        "server_last_access_at": 5_000.0,
        "allocations": 1,
        "threads_per_allocation": 1,
        "mean_inference_s": 0.04,
    }
    fields |= given
    fields.setdefault("busy_s", fields.get("completed", 0) * fields["mean_inference_s"])
    return NodeStats(**fields)


def loading(node_id: str = "n2") -> NodeStats:
    return NodeStats(node_id=node_id, routing_state="starting")


def deployment(*nodes: NodeStats, **given: Any) -> DeploymentStats:
    """A started deployment whose numbers agree with its nodes."""
    live = sum(n.allocations or 0 for n in nodes if n.routing_state == "started")
    fields: dict[str, Any] = {
        "deployment_id": "elser",
        "model_id": "elser-model",
        "state": "started",
        "allocations": live,
        "running_allocations": live,
        "threads_per_allocation": 1,
        "queue_capacity": 1024,
        "server_created_at": 900.0,
        "nodes": nodes,
    }
    fields |= given
    fields.setdefault("target_allocations", fields["allocations"])
    return DeploymentStats(**fields)


def observation(at: float, *deployments: DeploymentStats, **given: Any) -> Observation:
    return Observation(at=at, deployments={d.deployment_id: d for d in deployments}, **given)


_SCALING = ScalingTable(max_allocations=20, growth_factor=10.0, stabilisation_window="5m")
_POLICY = UtilisationPolicy(target=0.7, load_window_s=60.0)


def observed(document: dict[str, Any], at: float, **given: Any) -> Observation:
    """The observation of a response of `_stats`."""
    page = parse_stats(json.dumps(document).encode())
    return Observation(
        at=at,
        deployments={d.deployment_id: d for d in page.deployments},
        unreadable=dict(page.unreadable),
        unreadable_figures=dict(page.unreadable_figures),
        unknown_figures=dict(page.unknown_figures),
        **given,
    )


def rule(**given: Any) -> Rule:
    """A rule for all deployments, with these fields."""
    return replace(build_rule(_SCALING, _POLICY, name="all"), **given)


def policy(*rules: Rule, longest_interval_s: float = 60.0) -> Ruleset:
    return Ruleset(rules=rules or (rule(),), max_interval_s=longest_interval_s)


def polled_every(ruleset: Ruleset, interval_s: float) -> Ruleset:
    """The ruleset with polls that are never earlier than the routine ones."""
    polling = Polling(interval_s=interval_s, min_interval_s=interval_s)
    return replace(ruleset, polling=polling)


def outcome(
    decision: Decision, fate: OutcomeKind, at: float | None = None, detail: str = ""
) -> Outcome:
    return Outcome(
        decision=decision, kind=fate, at=decision.at if at is None else at, detail=detail
    )
