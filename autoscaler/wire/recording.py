"""Recorded cycles as frames: what each observation and its decisions have changed.

A frame has columns of integers: one for each figure, over all nodes or all deployments, with the
differences from the frame before. Frames are grouped in blocks. The first one of a block differs
from zero, so that a block can be read by itself.

What is unknown is recorded as unknown. Times are recorded in whole milliseconds, as the cluster
measures them; totals keep their sums. The figures of the deployment that repeat those of its nodes,
and those that no computation of a load uses, are not recorded.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from autoscaler.core.values import DeploymentStats, Value

VERSION = 1
"""Version of the frames. A reader refuses later ones, and ignores columns that it does not know."""


class RecordingDamaged(ValueError):
    """These are no frames, or they contradict each other."""


class RecordedNode(Struct, frozen=True, array_like=True):
    """One ML node."""

    id: str
    processors: float | None = None
    memory_bytes: int | None = None  # for machine learning


class RecordedNodes(Struct, frozen=True, array_like=True):
    """The ML nodes, as far as they are known."""

    nodes: tuple[RecordedNode, ...] | None = None  # None: unknown
    version: str = ""  # the lowest one of Elasticsearch; empty: unknown


class RecordedDecision(Value, frozen=True, kw_only=True):
    """What was decided on one deployment, and what came of it."""

    desired: int  # allocations
    recommended: int
    outcome: str
    active: bool | None = None  # whether a gradual rollout was; None: there is none
    requests: int | None = None  # in this cycle, that the policy judged; None: it judges none
    late_requests: float | None = None  # of them


class RecordedCycle(Value, frozen=True, kw_only=True):
    """One completed cycle."""

    at: float
    span_s: float = 0.0  # from the request for the statistics to their arrival
    poll_interval_s: float
    missed: bool = False  # whether cycles before it were completed and are not recorded
    deployments: Mapping[str, DeploymentStats]
    decisions: Mapping[str, RecordedDecision] = {}  # by deployment id
    hardware: RecordedNodes = RecordedNodes()


class Layout(Struct, frozen=True, array_like=True):
    """Of which deployments and nodes the numbers of all columns are."""

    deployments: tuple[str, ...]
    models: tuple[str, ...]  # their ids
    nodes: tuple[str, ...]  # ids; each deployment's one after the other
    routes: tuple[int, ...]  # the number of nodes of each deployment


class Frame(Struct, frozen=True, array_like=True):
    """One cycle, as it is written."""

    at: float
    span_s: float
    poll_interval_s: float
    missed: bool
    layout: Layout | None  # None: that of the frame before
    hardware: RecordedNodes | None  # the same
    texts: tuple[str, ...]  # new ones in this block; columns have their positions, from 1 on
    columns: dict[str, bytes]  # those that are not zero


NODE_FIGURES = (
    "routing_state",
    "server_started_at",
    "allocations",
    "completed",
    "cache_hits",
    "errors",
    "rejections",
    "timeouts",
    "busy_s",
    "pending",
    "server_last_access_at",
)
"""The recorded fields of `NodeStats`."""

DEPLOYMENT_FIGURES = (
    "state",
    "server_created_at",
    "allocations",
    "running_allocations",
    "target_allocations",
    "threads_per_allocation",
    "queue_capacity",
    "adaptive",
)
"""The recorded fields of `DeploymentStats`."""

DECISION_FIGURES = ("desired", "recommended", "outcome", "active", "requests", "late_requests")
"""The fields of `RecordedDecision`."""

PLAIN = frozenset({"decision.requests", "decision.late_requests"})
"""Columns of counts of one cycle, which are not differenced."""

IN_MILLISECONDS = frozenset(
    {"node.server_started_at", "node.server_last_access_at", "deployment.server_created_at"}
)
"""Columns of instants, on the clock of the cluster."""

COUNTS = frozenset(
    {f"node.{name}" for name in ("completed", "cache_hits", "errors", "rejections", "timeouts")}
    | {"node.pending"}
)
"""Columns of numbers that are never unknown."""

TEXTS = frozenset({"node.routing_state", "deployment.state", "decision.outcome"})
"""Columns of positions in the texts of a block; 0 is no text."""

NODE_COLUMNS = tuple(f"node.{name}" for name in NODE_FIGURES)
DEPLOYMENT_COLUMNS = (
    *(f"deployment.{name}" for name in DEPLOYMENT_FIGURES if name != "adaptive"),
    *(f"deployment.adaptive_{name}" for name in ("enabled", "minimum", "maximum")),
    *(f"decision.{name}" for name in DECISION_FIGURES),
)


def rearranged(name: str, before: Sequence[int], old: Layout, new: Layout) -> list[int]:
    """The numbers of a column in another layout; 0 for what has not been in the old one."""
    keys: Callable[[Layout], Iterable[object]] = _deployment_keys
    if name.startswith("node."):
        keys = _node_keys
    known = dict(zip(keys(old), before, strict=True))
    return [known.get(key, 0) for key in keys(new)]


def _deployment_keys(layout: Layout) -> Iterable[object]:
    return layout.deployments


def _node_keys(layout: Layout) -> Iterable[object]:
    nodes = iter(layout.nodes)
    for deployment, count in zip(layout.deployments, layout.routes, strict=True):
        for _ in range(count):
            yield deployment, next(nodes)


_frame_encoder = msgspec.msgpack.Encoder()
_frame_decoder = msgspec.msgpack.Decoder(Frame)


def encoded_frame(frame: Frame) -> bytes:
    return _frame_encoder.encode(frame)


def decoded_frame(data: bytes) -> Frame:
    """
    Raises:
        RecordingDamaged: these bytes are no frame.
    """
    try:
        return _frame_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingDamaged(f"a frame is damaged: {error}") from error
