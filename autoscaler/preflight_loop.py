"""The preflight check of one cluster: at the start, when the cluster may have changed, and
periodically. It logs the differences, and determines which rules can only observe."""

import asyncio
from collections.abc import Callable
from typing import Any

from autoscaler.adapters.clock import wait_for_any
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import (
    MAX_FAILING_INTERVAL_S,
    ElasticsearchCluster,
    SideRead,
)
from autoscaler.adapters.elasticsearch.preflight import PreflightReport, inspect
from autoscaler.adapters.elasticsearch.preflight_changes import changes, regained
from autoscaler.core.decision import Mode, Outcome, OutcomeKind, Plan
from autoscaler.core.selection import Rule
from autoscaler.core.units import duration_text
from autoscaler.core.values import Observation
from autoscaler.ports import Clock, ClusterChangeKind, CycleTimes, FailureKind, ObservationFailed
from autoscaler.wire.bounds import listed

PREFLIGHT_INTERVAL_S = 900.0
"""Seconds between preflight checks of a cluster that accepts all changes. 15 min, because what the
cycles show, such as another version or a refusal, causes a check at once."""

REJECTED_INTERVAL_S = 60.0
"""Seconds between preflight checks while the cluster would refuse changes, and after one that could
not be completed; and least seconds between two checks because of what the cycles show. 60 s: a
granted privilege should take effect soon, and a check has six small requests."""

MAX_UNFINISHED_INTERVAL_S = 300.0
"""Seconds to which the interval is doubled while the cluster cannot be checked. It is checked at
once when the statistics can be read again, or there are new credentials."""

_DENIED = frozenset({FailureKind.UNAUTHENTICATED, FailureKind.FORBIDDEN})
_REFUSED = frozenset({OutcomeKind.FORBIDDEN, OutcomeKind.UNSUPPORTED, OutcomeKind.ENDPOINT_OWNED})


class PreflightLoop:
    """Checks the cluster. It is a Recorder, because cycles show when a check is due.

    Args:
        log: a structlog logger.
        rules: the configured rules, for what matters to them.
        stopped: whether the daemon has stopped deployments.
        on_report: is called with the report after each check, and with whether the cluster may
            accept now what it has refused before.
        on_change: is called for each change of the cluster.
    """

    def __init__(
        self,
        api: ElasticsearchApi,
        cluster: ElasticsearchCluster,
        clock: Clock,
        log: Any,
        *,
        rules: Callable[[], tuple[Rule, ...]],
        stopped: Callable[[], bool],
        on_report: Callable[[PreflightReport, bool], None],
        on_change: Callable[[ClusterChangeKind], None],
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._clock = clock
        self._log = log
        self._rules = rules
        self._stopped = stopped
        self._on_report = on_report
        self._on_change = on_change
        self._due = asyncio.Event()
        self._at_once = asyncio.Event()
        self._observed = asyncio.Event()  # whether a cycle has ended
        self._deployed: frozenset[str] | None = None  # as last observed
        self._seen: object = None
        self._nodes: dict[str, str] | None = None  # names by id
        self._endpoints_unknown = False
        self._reads_failing: frozenset[str] = frozenset()
        self._mixed = self._failed = False
        self._unfinished = 0  # checks in a row that could not be completed
        self.report = self._told = PreflightReport()
        self._problems: frozenset[object] = frozenset()

    def request(self) -> None:
        """Check at once: credentials or configuration are new."""
        self._at_once.set()

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        self._deployed = frozenset(observation.deployments)
        if not self._deployed and observation.unreadable:
            self._deployed = None
        self._observed.set()
        nodes = observation.cluster.nodes if observation.cluster is not None else ()
        info = self._cluster.info
        seen = (
            None if info is None else (info.cluster_uuid, info.version.number),
            frozenset(node.version for node in nodes),
        )
        if self._seen not in (None, seen) or self._failed:
            self._due.set()
        if any(outcome.kind in _REFUSED for outcome in outcomes):
            self._due.set()
        self._seen, self._failed = seen, False
        if observation.cluster is not None:
            self._mixed = observation.cluster.mixed_versions
            self._log_nodes({node.node_id: node.name or node.node_id for node in nodes})

        self._log_endpoints(self._cluster.ownership.refusal)
        self._log_reads(self._cluster.failing)

    def _log_reads(self, failing: tuple[SideRead, ...]) -> None:
        """Log which parts of the cluster can no longer be read, and which can again."""
        now = {read.content: read for read in failing}
        for content in sorted(now.keys() - self._reads_failing):
            interval, limit = duration_text(now[content].interval_s), MAX_FAILING_INTERVAL_S
            self._log.warning(
                "cluster.read_failed",
                message=f"cluster: {content} cannot be read, and the next attempt is in "
                f"{interval}, further ones at most every {duration_text(limit)}: "
                f"{now[content].failure}",
            )
        for content in sorted(self._reads_failing - now.keys()):
            self._log.info(
                "cluster.read_recovered", message=f"cluster: {content} can be read again"
            )
        self._reads_failing = frozenset(now)

    def _log_endpoints(self, refusal: str) -> None:
        """Log when the endpoints become unknown, and when they are known again."""
        if refusal and not self._endpoints_unknown:
            guarded = self._cluster.ownership.version.guards_updates
            unchanged = "" if guarded else ", and no deployment is changed that one may own"
            self._log.warning(
                "endpoints.unknown",
                message="which inference endpoints own or use deployments is not known, because "
                f"{refusal}; until it is, nothing is stopped{unchanged}; "
                "if the message names a damaged endpoint, repair or delete it",
            )
        elif self._endpoints_unknown and not refusal:
            self._log.info(
                "endpoints.known",
                message="which inference endpoints own or use deployments is known again",
            )
        self._endpoints_unknown = bool(refusal)

    def _log_nodes(self, nodes: dict[str, str]) -> None:
        before, self._nodes = self._nodes, nodes
        if before is None or before.keys() == nodes.keys():
            return
        parts = [
            f"{listed(sorted(some[name] for name in some.keys() - others.keys()))} {verb}"
            for some, others, verb in ((before, nodes, "left"), (nodes, before, "joined"))
            if some.keys() - others.keys()
        ]
        self._on_change(ClusterChangeKind.NODES)
        count = f"{len(nodes)} machine-learning node{'' if len(nodes) == 1 else 's'}"
        self._log.info(
            "cluster.nodes_changed", message=f"the cluster has {count} now: {', '.join(parts)}"
        )

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        self._failed = True
        self._observed.set()
        if failure.kind in _DENIED:
            self._due.set()

    async def run(self) -> None:
        while True:
            try:
                await self._check()
            # Like a defect in a cycle, one in a check must not end the daemon.
            except Exception as defect:
                self._log.error(
                    "cluster.check_failed",
                    message=f"the cluster could not be checked: {defect!r}",
                    exc_info=defect,
                )
            await self._pause()

    async def _pause(self) -> None:
        """Wait until the next check is due, but not much longer than a cycle for what is new."""
        if await wait_for_any(self._clock, REJECTED_INTERVAL_S, self._at_once):
            return
        interval_s = PREFLIGHT_INTERVAL_S
        if any(map(self.report.rejection_of, Mode)) or self.report.owned_rejected_because:
            interval_s = REJECTED_INTERVAL_S
        if self._unfinished:
            longer_s = REJECTED_INTERVAL_S * 2.0 ** min(self._unfinished - 1, 8)
            interval_s = min(longer_s, MAX_UNFINISHED_INTERVAL_S)
        if (rest_s := interval_s - REJECTED_INTERVAL_S) > 0.0:
            await wait_for_any(self._clock, rest_s, self._at_once, self._due)

    async def _check(self) -> None:
        self._due.clear()
        self._at_once.clear()
        self._unfinished += 1
        before = self.report
        found = await inspect(
            self._api,
            ownership=self._cluster.ownership,
            deployed=self._observed_deployments,
            stopped=self._stopped(),
        )
        if found.complete:
            self._unfinished = 0
        self._log_problems(found)
        if not found.complete and before != PreflightReport():
            return  # the report from before has more
        self.report = found
        if not self._mixed:  # during an upgrade, each response may come from another node
            for change in changes(self._told, found):
                log = self._log.info if change.improvement else self._log.warning
                log("cluster.changed", message=change.sentence)
                self._on_change(change.kind)
            self._told = found
        self._on_report(found, regained(before, found))

    async def _observed_deployments(self) -> frozenset[str] | None:
        """The deployments that the last cycle has observed, after the first one has ended.

        The check does not read the statistics itself, because it would do so beside a cycle.
        """
        await self._observed.wait()
        return self._deployed

    def _log_problems(self, found: PreflightReport) -> None:
        rules = self._rules()
        rejections = {found.rejection_of(rule.mode) for rule in rules}
        rejections = (rejections | {found.owned_rejected_because}) - {""}
        for problem in found.problems:
            if problem.sentence == found.stop_rejected_because:
                continue  # `endpoints.unknown` reports it
            if problem not in self._problems and problem.sentence not in rejections:
                self._log.warning("cluster.problem", message=problem.sentence)
        for reason in sorted(rejections - self._problems):
            self._log.warning("cluster.observe_only", message=f"observe only: {reason}")
        # Each attempt to reach a cluster may fail in another way, on another host.
        kept = frozenset[object]() if found.complete else self._problems
        self._problems = frozenset({*kept, *found.problems, *rejections})
