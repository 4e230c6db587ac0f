"""What happened in a run: the requests of each daemon, and its cycles."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from time import perf_counter, process_time
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from yarl import URL

from autoscaler.core.decision import Outcome, Plan, Setting
from autoscaler.core.state import State
from autoscaler.core.values import Observation
from autoscaler.ports import ObservationFailed
from tests.chaos.schedule import Traffic

_CHANGE = re.compile(
    r"/_ml/trained_models/([^/]+)/deployment/(_update|_start|_stop)|"
    r"/_inference/[^/]+/([^/]+)/(_update)"
)
_STATISTICS = "/_ml/trained_models/_stats"
_LEASE = "/autoscaler-leases/"

KEPT_CYCLES = 200
"""Cycles and requests that the trace keeps, so that an invariant never takes long."""

EXPECTED_S = 600.0
"""Seconds for which a requested allocation that does not run is expected to start."""


class AtSending(Struct, frozen=True):
    """What was so when a change was sent. A daemon that is suspended ends its cycle much later."""

    requested: int | None  # allocations of the deployment; None: there was none
    load: float | None  # see `Truth`, like the others
    processors: int | None
    bounds: tuple[int, int]
    paused: bool  # an operator has paused everything, and it has been confirmed
    others: frozenset[Setting] = frozenset()  # see `Truth`
    may_act: bool = True


class Request(Struct, eq=False):
    """One request of a daemon, as the daemon and the cluster see it."""

    daemon: str
    at: float  # seconds after the start
    traffic: Traffic
    action: str  # "_update", "_start", "_stop", or ""
    deployment_id: str  # of the change; "": it is none
    body: Mapping[str, Any]
    then: AtSending | None = None  # None: it changes nothing
    disturbed_by: str = ""
    executed_at: float | None = None  # None: not yet, or never
    executed_with: int | None = None  # the status
    status: int | None = None  # that the daemon received; None: none
    returned_at: float | None = None  # None: still under way
    tainted: frozenset[str] = frozenset()  # deployments whose statistics were damaged on the way
    incomplete: Mapping[str, int] = {}  # when executed, if of statistics; see `Truth`

    @property
    def requested_before(self) -> int | None:
        """Allocations of the deployment when it was sent; None: there was no deployment."""
        return None if self.then is None else self.then.requested

    @property
    def allocations(self) -> int | None:
        """Allocations, or the minimum of adaptive ones, that it asks for; None: neither."""
        settings = self.body.get("service_settings", self.body)
        adaptive = settings.get("adaptive_allocations") or {}
        found = settings.get("number_of_allocations", settings.get("num_allocations"))
        return adaptive.get("min_number_of_allocations") if found is None else found


class Cycle(Struct, eq=False):
    """One cycle of a daemon."""

    daemon: str
    started_at: float
    at: float  # its end
    statistics: Request | None  # that it decided from; None: none arrived
    observation: Observation | None
    plan: Plan | None
    outcomes: tuple[Outcome, ...]
    failure: ObservationFailed | None
    stuck: frozenset[str]  # deployments whose missing allocations are not expected to start
    state: State  # after it
    changes: tuple[Request, ...]  # sent since the cycle before
    took_cpu_s: float


class Truth(Struct, frozen=True):
    """What is really so, whatever the statistics say."""

    requested: Callable[[str], int | None]  # allocations of a deployment
    load: Callable[[str], float | None]  # steady offered load, in erlangs; None: it is not steady
    processors: Callable[[], int | None]  # of all nodes it may still know; None: any may be added
    bounds: Callable[[], tuple[int, int]]  # of the rules, including those of a moment ago
    stopped: Callable[[], Mapping[str, Request]]  # by a daemon, and not started since; by which
    paused: Callable[[str], bool] = lambda _name: False  # everything of a deployment
    incomplete: Callable[[], Mapping[str, int]] = dict  # allocations of those that lack some
    # During a gradual rollout: what a deployment has had from others than a daemon.
    others: Callable[[str], frozenset[Setting]] = lambda _name: frozenset()
    # Whether the rule of a gradual rollout may have begun to act: an operator has resumed it, or
    # changed the rule.
    may_act: Callable[[str], bool] = lambda _name: True

    def at_sending(self, deployment_id: str) -> AtSending:
        """What is so now for a change of this deployment."""
        return AtSending(
            self.requested(deployment_id),
            self.load(deployment_id),
            self.processors(),
            self.bounds(),
            self.paused(deployment_id),
            self.others(deployment_id),
            self.may_act(deployment_id),
        )


class Trace:
    def __init__(self, now: Callable[[], float], truth: Truth) -> None:
        self._now = now
        self.truth = truth
        self.cycles: deque[Cycle] = deque(maxlen=KEPT_CYCLES)
        self.requests: deque[Request] = deque(maxlen=8 * KEPT_CYCLES)
        self.under_way: list[Request] = []
        self.total_cycles = 0
        self.interrupted_at = -inf  # a daemon was killed or suspended, or had new credentials
        self.take_overs: list[tuple[str, float]] = []  # by which daemon, and when
        self.executed: Callable[[Request], None] = lambda _request: None
        self.violations: list[str] = []
        self._incomplete: dict[str, tuple[int, float]] = {}  # allocations, and since when
        self._changes: dict[str, list[Request]] = {}
        self._cpu: dict[str, float] = {}  # at the end of the last cycle
        self._elsewhere_s = 0.0  # of the cluster and the laboratory
        self.digest: list[tuple[Any, ...]] = []  # what two runs of one seed must agree on

    # Requests

    def sent(self, daemon: str, method: str, url: URL, body: bytes) -> Request:
        deployment_id, action = _change_of(method, url.raw_path)
        traffic = Traffic.OTHERS
        if url.path == _STATISTICS:
            traffic = Traffic.STATISTICS
        elif action:
            traffic = Traffic.CHANGES
        elif url.path.startswith(_LEASE):
            traffic = Traffic.LEASE
        request = Request(
            daemon,
            self._now(),
            traffic,
            action,
            deployment_id,
            msgspec.json.decode(body) if body and action else {},
            then=self.truth.at_sending(deployment_id) if action else None,
        )
        self.requests.append(request)
        self._check_under_way(request)
        self.under_way.append(request)
        if action:
            self._changes.setdefault(daemon, []).append(request)
            self.digest.append((request.at, daemon, action, deployment_id, body))
        return request

    def _check_under_way(self, request: Request) -> None:
        """At most one call for statistics, one change, and one for the lease is under way."""
        if request.traffic is Traffic.OTHERS:
            return
        for other in self.under_way:
            if (other.daemon, other.traffic) == (request.daemon, request.traffic):
                self.violations.append(
                    f"one_call: two calls for {request.traffic} at {request.at:.1f} s; the first "
                    f"was sent at {other.at:.1f} s"
                )

    def returned(self, request: Request) -> None:
        request.returned_at = self._now()
        self.under_way.remove(request)

    @contextmanager
    def execution(self, request: Request) -> Iterator[None]:
        """The cluster executes a request. Its processor time is not the daemon's."""
        with self.elsewhere():
            yield
            request.executed_at = self._now()
            if request.traffic is Traffic.STATISTICS:
                request.incomplete = self.truth.incomplete()
            self.executed(request)

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Time that is not the daemon's. By the clock of the host, because reading the processor
        time takes a system call; on a busy host it is no less."""
        before = perf_counter()
        try:
            yield
        finally:
            self._elsewhere_s += perf_counter() - before

    # Cycles

    def ended(
        self,
        daemon: str,
        state: State,
        *,
        observation: Observation | None = None,
        plan: Plan | None = None,
        outcomes: tuple[Outcome, ...] = (),
        failure: ObservationFailed | None = None,
    ) -> Cycle:
        spent = process_time() - self._elsewhere_s
        statistics = next(
            (
                request
                for request in reversed(self.requests)
                if request.daemon == daemon
                and request.traffic is Traffic.STATISTICS
                and request.status is not None
            ),
            None,
        )
        before = self.of(daemon)[-1:]
        started_at = statistics.at if statistics is not None else self._now()
        cycle = Cycle(
            daemon,
            max(started_at, before[0].at) if before else started_at,
            self._now(),
            statistics if failure is None else None,
            observation,
            plan,
            outcomes,
            failure,
            self._stuck(statistics, observation),
            state,
            tuple(self._changes.pop(daemon, ())),
            spent - self._cpu.get(daemon, spent),
        )
        self._cpu[daemon] = spent
        self.cycles.append(cycle)
        self.total_cycles += 1
        kinds = tuple(outcome.kind for outcome in outcomes)
        self.digest.append((cycle.at, daemon, failure and failure.kind, kinds))
        return cycle

    def _stuck(self, statistics: Request | None, observation: Observation | None) -> frozenset[str]:
        """The deployments with allocations that have been missing in each observation for long, and
        of which no more have been requested since."""
        if statistics is None or observation is None:
            return frozenset()
        at, known = observation.at, self._incomplete
        self._incomplete = {}
        for name, requested in statistics.incomplete.items():
            before, since = known.get(name, (0, at))
            self._incomplete[name] = requested, since if requested <= before else at
        return frozenset(
            name for name, (_, since) in self._incomplete.items() if at - since > EXPECTED_S
        )

    def of(self, daemon: str) -> list[Cycle]:
        return [cycle for cycle in self.cycles if cycle.daemon == daemon]

    def took_over(self, daemon: str) -> None:
        """The daemon begins to lead, and with it a poll."""
        self.take_overs.append((daemon, self._now()))

    def changes_of(self, daemon: str, deployment_id: str) -> list[Request]:
        return [
            request
            for request in self.requests
            if request.action and (request.daemon, request.deployment_id) == (daemon, deployment_id)
        ]

    def interrupted(self, within_s: float) -> bool:
        """Whether the rhythm of polls may have been interrupted within these last seconds."""
        return self._now() - self.interrupted_at < within_s


def _change_of(method: str, path: str) -> tuple[str, str]:
    """The deployment that a request changes, and how; both empty if none."""
    if method in ("POST", "PUT") and (found := _CHANGE.search(path)) is not None:
        deployment_id, action, endpoint, update = found.groups()
        return unquote(deployment_id or endpoint), action or update
    return "", ""
