"""The allocations removed when a deployment is scaled down. Other deployments are not affected.

Source: elastic/elasticsearch, ml/inference/assignment/planning/AllocationReducer.java.
"""

from collections.abc import Mapping


def reduced(
    targets: Mapping[str, int], zones: Mapping[str, str], allocations: int
) -> dict[str, int]:
    """Targets by node id that sum to `allocations`; nodes left with none are dropped.

    Each step takes the node with the fewest allocations in the zone with the most. The whole node
    is dropped if the zones stay balanced, because a process that ends frees its memory; otherwise
    one allocation is removed. `zones` maps the id of each node of the cluster to its zone; a zone
    whose nodes have none of the deployment counts as one that holds nothing. Targets that sum to no
    more than `allocations` are returned unchanged.
    """
    left = {node_id: target for node_id, target in targets.items() if target > 0}
    while (surplus := sum(left.values()) - allocations) > 0:
        by_zone = _by_zone(left, zones)
        zone = max(by_zone, key=lambda zone: (by_zone[zone], zone))
        node_id = min(
            (node_id for node_id in left if zones[node_id] == zone),
            key=lambda node_id: (left[node_id], node_id),
        )
        others = [total for name, total in by_zone.items() if name != zone]
        balanced = not others or by_zone[zone] - left[node_id] >= min(others)
        if left[node_id] == 1 or (left[node_id] <= surplus and balanced):
            del left[node_id]
        else:
            left[node_id] -= 1
    return left


def _by_zone(targets: Mapping[str, int], zones: Mapping[str, str]) -> dict[str, int]:
    totals = dict.fromkeys(zones.values(), 0)
    for node_id, target in targets.items():
        totals[zones[node_id]] += target
    return totals
