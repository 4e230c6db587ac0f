"""Counts that are kept from cycle to cycle.

The control loop is the only writer; scrapes may read from any thread.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from autoscaler.adapters.prometheus.families import MetricFamily
from autoscaler.shared_labels import Labels

K = TypeVar("K", bound=Hashable)


class LabelledCounter(Generic[K]):
    """A count for each key."""

    def __init__(self) -> None:
        self._counts: dict[K, int] = {}

    def add(self, key: K) -> None:
        self._counts[key] = self._counts.get(key, 0) + 1

    def items(self) -> list[tuple[K, int]]:
        # Atomic in the interpreter, so that no writer can interfere.
        return list(self._counts.items())


class Histogram:
    """Observed values by size, without the `_created` series."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, name: str, labels: Labels) -> Iterator[Sample]:
        edges = [*map(floatToGoString, self._bounds), "+Inf"]
        cumulative = list(accumulate(list(self._counts)))
        for edge, count in zip(edges, cumulative, strict=True):
            yield Sample(f"{name}_bucket", {**labels, "le": edge}, count)
        yield Sample(f"{name}_count", labels, cumulative[-1])
        yield Sample(f"{name}_sum", labels, self._sum)


def histogram_family(declared: MetricFamily, rows: Sequence[tuple[Labels, Histogram]]) -> Metric:
    metric = Metric(declared.name, declared.help, declared.kind)
    for labels, histogram in rows:
        metric.samples.extend(histogram.samples(declared.name, labels))
    return metric
