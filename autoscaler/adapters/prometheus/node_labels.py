"""The label of each node: its name where that is unique, otherwise its id."""

from collections.abc import Iterable, Mapping

from autoscaler.core.values import NodeStats, Observation

MAX_IN_DOUBT = 10_000
"""Names in doubt that are remembered. After that, the label of every node is its id."""


class NodeLabels:
    """Labels that stay with a node.

    Nodes of one name happen (prometheus-community/elasticsearch_exporter#654). A name that two
    nodes have had at the same time stays in doubt: if it became a label again when one of them
    leaves, the series of one node would continue with the totals of the other.
    """

    def __init__(self) -> None:
        self._in_doubt: set[str] = set()

    def of(self, observation: Observation) -> Mapping[str, str]:
        """The labels by node id. The order of the nodes makes no difference."""
        names: dict[str, str] = {}
        for stats in observation.deployments.values():
            names |= {node.node_id: node.name for node in stats.nodes}
        self._doubt(names)
        if observation.cluster is not None:
            # Read less often, it may still show a node that another one has replaced.
            in_cluster = {node.node_id: node.name for node in observation.cluster.nodes}
            self._doubt(in_cluster)
            names = {**in_cluster, **names}
        return {
            node_id: name if name and not self._is_in_doubt(name) else node_id
            for node_id, name in names.items()
        }

    def _is_in_doubt(self, name: str) -> bool:
        return name in self._in_doubt or len(self._in_doubt) >= MAX_IN_DOUBT

    def _doubt(self, names: Mapping[str, str]) -> None:
        if len(self._in_doubt) >= MAX_IN_DOUBT:
            return
        seen: dict[str, str] = {}
        for node_id, name in names.items():
            if name and seen.setdefault(name, node_id) != node_id:
                self._in_doubt.add(name)
            if name != node_id and name in names:
                self._in_doubt.add(name)  # the id of another node


def by_label(nodes: Iterable[NodeStats], labels: Mapping[str, str]) -> dict[str, NodeStats]:
    """The nodes of one deployment by label. Two series with equal labels would fail the whole
    scrape, so of two entries about one node the one with more completed requests is taken."""
    labelled: dict[str, NodeStats] = {}
    for node in nodes:
        label = labels.get(node.node_id, node.node_id)
        if label not in labelled or node.completed > labelled[label].completed:
            labelled[label] = node
    return labelled
