"""How long callers wait for a response, where the configuration does not say so.

Elasticsearch's own time-outs: 10 s for `_infer` and for a search (elastic/elasticsearch#150394),
30 s for an inference endpoint and 120 s for one that completes texts (#146089), up to 2 h for an
ingest pipeline (#147172; before that, for ever).
"""

from collections.abc import Mapping
from types import MappingProxyType

from autoscaler.core.values import Callers, Value


class CallerTimeout(Value, frozen=True):
    """For how long callers wait, and why that is assumed."""

    seconds: float
    because: str


DEFAULTS: Mapping[Callers, CallerTimeout] = MappingProxyType(
    {
        Callers.UNKNOWN: CallerTimeout(10.0, "its callers are not known"),
        Callers.DIRECT: CallerTimeout(10.0, "neither pipelines nor inference endpoints use it"),
        Callers.ENDPOINT: CallerTimeout(30.0, "an inference endpoint uses it"),
        Callers.COMPLETION: CallerTimeout(120.0, "an inference endpoint for completion uses it"),
        Callers.INGEST: CallerTimeout(7200.0, "an ingest pipeline uses it"),
    }
)
"""The caller timeout by use. The callers with the longest one count, because their requests are
worth serving for as long."""


def caller_timeout(configured_s: float | None, callers: Callers) -> CallerTimeout:
    """The configured caller timeout, or else that of the use.

    >>> [caller_timeout(configured, Callers.ENDPOINT).seconds for configured in (None, 5.0)]
    [30.0, 5.0]
    """
    if configured_s is not None:
        return CallerTimeout(configured_s, "configured")
    return DEFAULTS[callers]
