"""The load of deployments by intervals of time, and the allocations that served it.

Recordings are exported to this format, and other sources are imported to it.

A file has one JSON object a line: a header, then intervals and hardware in the order of their ends.
Each has a `type`. None, or a key that is left out, means that the figure is unknown; it is never 0.
A reader ignores keys that it does not know, and refuses a later version of the format.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

VERSION = 1

MAX_INTERVAL_S = 3_601.0
"""The longest interval of which a replay knows when the requests arrived, in seconds. An hour, by
which results are computed, and a second, because ends are rounded."""

Source = Literal["recording", "prometheus", "elasticsearch", "csv"]


Instant = Annotated[float, Meta(ge=0.0, le=253_402_300_799.0)]
"""Unix seconds until the end of the year 9999, after which there are no dates."""


class IntervalsError(ValueError):
    """A line is not of this format. The message says which, and why."""


class IntervalsHeader(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="header"
):
    """Where the intervals are from. The first line of a file."""

    format: Literal["autoscaler-intervals"] = "autoscaler-intervals"
    version: int = VERSION
    source: Source
    program: str  # that wrote the file, with its version
    hashed: bool = False  # whether ids and names are replaced by hashes
    unknown: tuple[str, ...] = ()  # one sentence for each figure that the source does not have


class HardwareNode(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ML node."""

    id: str
    processors: float | None = None
    memory_bytes: int | None = None  # for machine learning


class Hardware(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="hardware"
):
    """The ML nodes from an instant on, until the next such line."""

    at: Instant
    nodes: tuple[HardwareNode, ...]
    version: str = ""  # the lowest one of Elasticsearch; empty: unknown


class NodeInterval(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One deployment on one node in an interval."""

    node: str
    allocations: int | None = None  # that the process has at the end
    completed: int | None = None
    cache_hits: int | None = None
    failed: int | None = None  # rejected, timed out, or with an error
    busy_s: float | None = None  # allocation-seconds of the completed requests
    in_flight: int | None = None  # at the end
    started_at: float | None = None  # Unix seconds at which the process became ready


class LoadInterval(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="interval"
):
    """One deployment in the `interval_s` seconds before `at`."""

    deployment: str
    at: Instant
    interval_s: float
    model: str = ""  # its id, by which a rule may select the deployment; empty: unknown
    created_at: float | None = None  # Unix seconds at which the deployment was created
    arrivals: int | None = None
    completed: int | None = None
    cache_hits: int | None = None
    failed: int | None = None  # rejected, timed out, or with an error
    busy_s: float | None = None  # allocation-seconds of the completed requests
    in_flight: int | None = None  # at the end
    requested: int | None = None  # allocations, at the end
    running: int | None = None  # allocations, at the end
    threads: int | None = None  # of each allocation
    queue_capacity: int | None = None  # of each process
    adaptive: bool | None = None  # whether adaptive allocations are enabled
    adaptive_minimum: int | None = None
    adaptive_maximum: int | None = None
    issues: tuple[str, ...] = ()  # why figures are uncertain; see `DataIssue`
    nodes: tuple[NodeInterval, ...] = ()
    # What the daemon decided at the end.
    desired: int | None = None  # allocations
    outcome: str = ""  # such as "accepted" or "dry_run"; empty: unknown
    active: bool | None = None  # whether a gradual rollout was active; None: there is none
    requests: int | None = None  # that the policy judged, cache hits excluded
    late_requests: float | None = None  # of them, as computed from the statistics


Line = IntervalsHeader | Hardware | LoadInterval

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encoded(lines: Iterable[Line]) -> Iterator[bytes]:
    """Each line with its line end."""
    for line in lines:
        yield _encoder.encode(line) + b"\n"


def decoded(lines: Iterable[bytes]) -> Iterator[Line]:
    """The lines of a file, the header first.

    Raises:
        IntervalsError: a line is invalid, or of a later version.
    """
    number = 0
    for number, text in enumerate(lines, 1):
        try:
            line = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise IntervalsError(f"line {number}: {error}") from error
        if isinstance(line, IntervalsHeader) is not (number == 1):
            raise IntervalsError(f"line {number}: a file has one header, which is its first line")
        if isinstance(line, IntervalsHeader) and line.version > VERSION:
            raise IntervalsError(
                f"line 1: version {line.version} of the format is later than {VERSION}, the last "
                "one that this program reads; use a later release"
            )
        yield line
    if not number:
        raise IntervalsError("the file is empty")
