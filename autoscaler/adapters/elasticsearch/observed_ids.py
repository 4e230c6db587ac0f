"""Which deployments are observed, where there are more than are observed at once."""

from collections.abc import Iterable

from autoscaler.core.state import FORGET_AFTER_S

MAX_DEPLOYMENTS = 10_000
"""Deployments that are observed. Elasticsearch allows a hundred by default
(elastic/elasticsearch, `MachineLearning.java`). Each of them has a state, metrics and log lines."""


class ObservedIds:
    """The ids of observed deployments. One that vanishes keeps its place for as long as its state
    is kept, so that other ids in every response do not add to the state without end."""

    def __init__(self, most: int = MAX_DEPLOYMENTS) -> None:
        self._most = most
        self._seen_at: dict[str, float] = {}

    def admit(self, reported: Iterable[str], at: float) -> frozenset[str]:
        """Those of the reported ids that are observed: the known ones, and new ones in their order
        while there is room."""
        oldest = at - FORGET_AFTER_S
        self._seen_at = {name: seen for name, seen in self._seen_at.items() if seen > oldest}
        admitted = set()
        for name in reported:
            if name in self._seen_at or len(self._seen_at) < self._most:
                self._seen_at[name] = at
                admitted.add(name)
        return frozenset(admitted)
