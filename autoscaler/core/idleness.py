"""When a deployment that nobody asks may come down to nothing, and when that is not safe."""

import re
from functools import lru_cache

from autoscaler.core.selection import Via, Zero
from autoscaler.core.usage import is_usual
from autoscaler.core.values import Cluster, DeploymentStats, Sample

LEAD_S = 120.0
"""How long before it is usually used a deployment is started, or no longer stopped."""

Version = tuple[int, int, int]

ZERO_SINCE: Version = (8, 16, 0)
"""The cluster's own scaler goes to zero, and wakes what is asked for (elastic/elasticsearch#113455,
#114719)."""

LOST_AT_ZERO: tuple[Version, Version] = ((9, 1, 0), (9, 3, 0))
"""From, and before: what has no allocations may be deleted when another deployment is started
(elastic/elasticsearch#137134; the notes of 9.3.0 are the first to name the fix)."""

WAKES_BY_ANY_ID: Version = (9, 4, 5)
"""Before, a request under an id that is not the model's is refused instead of waking it
(elastic/elasticsearch#146835)."""


def idle_since(before: float | None, sample: Sample) -> float:
    """Since when nobody has asked, as far as can be told: what cannot be trusted begins it anew."""
    quiet = not sample.flaws and sample.arrivals == 0 and sample.pending == 0
    return before if quiet and before is not None else sample.at


def is_usual_soon(usage: bytes, at: float) -> bool:
    """Whether it is about to be used, as on past days."""
    return is_usual(usage, at + LEAD_S, known_until=at)


@lru_cache(maxsize=1)  # it is the same from cycle to cycle
def version_of(cluster: Cluster | None) -> Version | None:
    """Of the machine-learning nodes; None if it is not known, or not one."""
    versions = {node.version for node in cluster.nodes} if cluster is not None else set()
    found = re.match(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})", versions.pop()) if versions else None
    return (int(found[1]), int(found[2]), int(found[3])) if found and not versions else None


def why_unsafe(
    zero: Zero, stats: DeploymentStats, owner: str | None, version: Version | None
) -> str:
    """Why this deployment must not come down to nothing; empty if it may."""
    if zero.via is Via.STOP:
        return f"it belongs to the inference endpoint {owner}" if owner is not None else ""
    if version is None:
        return "the version of its nodes is not known, and not every one wakes what sleeps"
    if version < ZERO_SINCE:
        return "this version cannot wake what sleeps; 8.16 and later can"
    if LOST_AT_ZERO[0] <= version < LOST_AT_ZERO[1]:
        return "9.1 and 9.2 may delete what has no allocations (elasticsearch#137134)"
    if version < WAKES_BY_ANY_ID and stats.deployment_id != stats.model_id:
        return "its id is not its model's, so requests could not wake it (elasticsearch#146835)"
    return ""
