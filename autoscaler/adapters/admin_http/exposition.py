"""The metrics in either text format, in pieces.

The library encodes each family by itself. Of plain families, which are nearly all, it encodes only
the heading: thousands of series have the same labels as those of other families, and the text of
the labels is made once for all of them. That takes a third of the time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from autoscaler.shared_labels import Labels, SharedLabels

SAMPLES_OF_A_PIECE = 500
"""Samples that are encoded at once: less than a millisecond's work."""

_END = b"# EOF\n"

Encode = Callable[[Collector], bytes]
"""The encoder of the library for one of the formats."""


def exposition(registry: CollectorRegistry, encode: Encode) -> Iterator[bytes]:
    """The exposition in pieces, none empty: equal to what the encoder makes of the registry."""
    ended = b""
    for metric in registry.collect():
        plain = _is_plain(metric)
        encoded = encode(_Family(_heading(metric) if plain else metric))
        # The end mark of OpenMetrics must follow the last family only.
        if encoded.endswith(_END):
            encoded, ended = encoded.removesuffix(_END), _END
        yield encoded
        if plain:
            for first in range(0, len(metric.samples), SAMPLES_OF_A_PIECE):
                yield _lines(metric.samples[first : first + SAMPLES_OF_A_PIECE])
    if ended:
        yield ended


class _Family(Collector):
    """A registry with one family, as the encoders require it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


def _is_plain(metric: Metric) -> bool:
    """Whether each sample is the name of the family, labels and a value."""
    name = {"gauge": metric.name, "counter": f"{metric.name}_total"}.get(metric.type)
    return metric.name.isidentifier() and all(
        sample.name == name and sample.timestamp is None and sample.exemplar is None
        for sample in metric.samples
    )


def _heading(metric: Metric) -> Metric:
    """The family without its samples."""
    return Metric(metric.name, metric.documentation, metric.type, metric.unit)


def _lines(samples: Sequence[Sample]) -> bytes:
    return "".join(
        [
            f"{sample.name}{_text_of(sample.labels)} {number}\n"
            for sample, number in zip(
                samples, map(floatToGoString, [sample.value for sample in samples]), strict=True
            )
        ]
    ).encode()


def _text_of(labels: Labels) -> str:
    if not isinstance(labels, SharedLabels):
        return _text(labels)
    if labels.text is None:
        labels.text = _text(labels)
    return labels.text


def _text(labels: Labels) -> str:
    pairs = [f'{name}="{_escaped(labels[name])}"' for name in sorted(labels)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
