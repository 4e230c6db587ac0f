"""One cluster: its connection, its control loop, its preflight check, and what records its cycles.

A process that scales several clusters has one controller for each; they share only the clock.
"""

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import structlog
from msgspec.structs import replace

from autoscaler import __version__
from autoscaler.adapters.admin_http import (
    ClusterPages,
    DecisionRecorder,
    Health,
    instruction_endpoints,
)
from autoscaler.adapters.calendar import CronCalendar
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.adapters.elasticsearch.otlp import OtlpEndpoint
from autoscaler.adapters.elasticsearch.preflight_report import PreflightReport
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.history import History, HistoryRecorder
from autoscaler.adapters.logs import LogRecorder
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.adapters.state import SqliteStore
from autoscaler.cluster_connection import transport_to
from autoscaler.composite_recorder import CompositeRecorder
from autoscaler.config import Config
from autoscaler.control_loop import ControlLoop
from autoscaler.core.decision import OutcomeKind
from autoscaler.core.flow.feedback import without_denials
from autoscaler.core.flow.planning import MAX_INTERVAL_POLLS, Ruleset
from autoscaler.core.selection import OnExit
from autoscaler.core.state import State
from autoscaler.core.units import duration_text
from autoscaler.leadership_loop import LeadershipLoop, instance_name
from autoscaler.operator_instructions import OperatorInstructions
from autoscaler.ports import (
    Clock,
    NotResumed,
    Recorder,
    RefusalKind,
    RequestRefused,
    StateStore,
)
from autoscaler.preflight_loop import PreflightLoop
from autoscaler.state_loop import StateLoop
from autoscaler.state_stores import state_store_of

RELEASE_TIMEOUT_S = 20.0
"""Seconds that the release of all deployments may take when the daemon ends. 20 s, because
Kubernetes kills the process after thirty."""


class ClusterController:
    """Everything that exists once for each cluster.

    An async context manager: the connections to the cluster are open inside the block, and the
    state is its own.

    Args:
        cluster: the cluster's name: a label of its metrics, a field of its log lines and a part of
            its paths. Empty where there is one cluster only, which has none of the three.
        recorders: record every cycle, besides the logs, the metrics and the probes.
        connect: returns the HTTP client of the configured cluster; None: one that uses sockets.
        store_of: returns the store of the state; None: the configured one.
        jitter: of the moments at which it tries to lead; None: one that no other process has.

    Raises:
        ConnectionSettingsError: the connection settings are not usable.
        NotInKubernetes: the lease should be in Kubernetes, and this process is not.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        cluster: str = "",
        recorders: tuple[Recorder, ...] = (),
        connect: Callable[[Config, Clock], Transport] | None = None,
        store_of: Callable[[Config, Clock, Any], StateStore | None] | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        fields = {"cluster": cluster} if cluster else {}
        self._log = structlog.get_logger("autoscaler", **fields)
        self.metrics = PrometheusRecorder(clock, cluster)
        self.metrics.per_node = config.per_node_metrics
        self.health = Health(clock, config.polling.interval_s, config.connection.request_timeout_s)
        decisions = DecisionRecorder(clock, __version__)
        self._transport = (connect or transport_to)(config, clock)
        self._leadership: LeadershipLoop | None = None
        if config.lease is not None:
            self._leadership = LeadershipLoop(
                config.lease,
                self._transport,
                clock,
                self._log,
                jitter=jitter or random.Random(),
                on_lead=self._begin_to_lead,
                on_loss=self._begin_to_follow,
            )
            elector = self._leadership.elector
            self._transport.leadership = self.metrics.leadership = elector
            self.health.leadership = decisions.leadership = elector
        self._electing: asyncio.Task[None] | None = None
        self._completed = False  # whether the control loop has ended with no update under way
        self._api = ElasticsearchApi(self._transport)
        self._renewals = 0  # of the credentials, as far as they were reported
        self._ports = ElasticsearchCluster(self._api, clock)
        self.known_uuid = self._ports.known_uuid
        self._preflight = PreflightLoop(
            self._api,
            self._ports,
            clock,
            self._log,
            rules=lambda: self._config.rules,
            stopped=lambda: bool(self._loop.state.stopped),
            on_report=self._apply_report,
            on_change=self.metrics.cluster_changed,
        )
        if store_of is not None:
            self._store = store_of(config, clock, self._log)
        else:
            leader = self._transport.leadership
            writer = instance_name() if leader is None else leader.name
            self._store = state_store_of(config, clock, self._log, self._transport, writer=writer)
        self._state = self.metrics.state = StateLoop(
            self._store,
            self._ports,
            clock,
            self._log,
            cluster_uuid=self._ports.uuid,
            leadership=self._transport.leadership,
            policies=lambda: [rule.policy for rule in self._config.rules],
        )
        stored = self._store if isinstance(self._store, SqliteStore) else None
        self.history = History(clock, stored)
        self.operators = OperatorInstructions(
            self._store, clock, self._log, note=self._note_instruction, why_not=self._why_not
        )
        decisions.operators = self.operators
        self.pages = ClusterPages(
            self.health,
            decisions,
            resume=self.resume,
            resume_text=self.operators.resume_text,
            save_resume_requests=self.save_resume_requests,
            cluster=cluster,
            read_history=self.history.read,
            endpoints=instruction_endpoints(self.operators, self._resume_and_save, decisions),
        )
        self.pages.status_pages.contents.state = self._state
        self._keeping: asyncio.Task[None] | None = None  # the state
        self._loop = self._state.loop = self.operators.loop = ControlLoop(
            clock=clock,
            observer=self._state,
            actuator=self._ports,
            recorder=CompositeRecorder(
                LogRecorder(self._log),
                self.metrics,
                self.health,
                decisions,
                self._preflight,
                self.operators,
                HistoryRecorder(self.history, self._state if self._leadership else None),
                self.pages.status_pages,  # after those that it shows
                *recorders,
            ),
            ruleset=ruleset_of(config),
            request_timeout_s=config.connection.request_timeout_s,
            calendar=CronCalendar(),
            state_store=self._store,
            state=State(cold_start_s=0.0),
            leadership=None if self._leadership is None else self._state,
        )

    async def __aenter__(self) -> Self:
        """
        Raises:
            StateInUse: another process has the state.
            FormerFileUnreadable: the file of an earlier release cannot be read.
        """
        if self._store is None:
            self._log.info("state.off", message=_NOT_SAVED)
        await self._transport.__aenter__()
        try:
            await self._state.begin()
        except BaseException:
            await self._transport.__aexit__(None, None, None)
            raise
        self.history.note("started", f"autoscaler {__version__} has started")
        if self._store is not None:
            self._keeping = asyncio.ensure_future(self._state.run())
        if self._leadership is not None:
            await self._leadership.__aenter__()
            self._electing = asyncio.ensure_future(self._leadership.run())
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._ports.close()
        for task in (self._electing, self._keeping):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.history.note("stopped", f"autoscaler {__version__} stops")
        await self._state.close()  # while this instance leads
        if self._leadership is not None:
            if self._completed:  # otherwise an update may be under way
                await self._leadership.release()
            await self._leadership.__aexit__(error_type, error, traceback)
        await self._transport.__aexit__(error_type, error, traceback)

    async def run(self) -> None:
        """Run preflight checks and cycles until `stop` is called.

        Raises:
            FormerFileUnreadable: the file of an earlier release cannot be read.
        """
        loop = asyncio.ensure_future(self._loop.run())
        preflight = asyncio.ensure_future(self._preflight.run())
        others = [task for task in (self._electing, self._keeping) if task is not None]
        try:
            await asyncio.wait([loop, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in others:
                if task.done():
                    task.result()  # it ends with an error only, and so does the process
            self._completed = True
        finally:
            for task in (loop, preflight):
                task.cancel()
            await asyncio.gather(loop, preflight, return_exceptions=True)
        loop.result()

    def stop(self) -> None:
        """Begin no further cycle and no further update; the current update is completed."""
        self._loop.stop()

    def _begin_to_lead(self) -> None:
        self._state.lead()

    def _begin_to_follow(self) -> None:
        self._state.follow()

    def resume(self, deployment_id: str) -> bool:
        """Start a stopped deployment in the next cycle. Returns whether it is stopped.

        Raises:
            NotResumed: this instance does not lead, or does not know what is stopped yet.
        """
        if reason := self._why_not():
            raise NotResumed(f"{deployment_id}: not resumed, because {reason}")
        if self._loop.resume(deployment_id):
            return True
        if not self._state.has_continued:
            raise NotResumed(
                f"{deployment_id}: not resumed, because the saved state cannot be read, so that it "
                "is not known whether it is stopped; the log says why"
            )
        return False

    async def _resume_and_save(self, deployment_id: str) -> str:
        """
        Raises:
            NotResumed: this instance may not start it now.
            RequestRefused: it is not stopped.
        """
        if not self.resume(deployment_id):
            raise RequestRefused(RefusalKind.NOT_FOUND, f"{deployment_id}: not stopped")
        await self.save_resume_requests()
        return self.operators.resume_text(deployment_id)

    def _why_not(self) -> str:
        """Why this instance accepts no request that changes the cluster; empty: it does."""
        if self._state.leads() and self._state.is_reading:
            return "the saved state is still being read; try again in a few seconds"
        reason = self._loop.why_not_leading(self._clock.now())
        return f"{reason}; ask the leader" if reason else ""

    def _note_instruction(self, message: str, deployment_id: str, by: str, reason: str) -> None:
        self.history.note(
            "instruction", message, deployment_id=deployment_id, by=by, stated_reason=reason
        )

    async def save_resume_requests(self) -> None:
        """Save the requests to resume deployments. To be awaited before one is confirmed."""
        await self._loop.save_resume_requests()

    def apply(self, config: Config) -> None:
        """Put the rules, the poll interval and the credentials of a new configuration into effect,
        and check the cluster again."""
        self._transport.authorization.replace(config.connection.auth)
        self._config = config
        self.health.poll_interval_s = config.polling.interval_s
        self.metrics.per_node = config.per_node_metrics
        self._loop.ruleset = ruleset_of(config, self._preflight.report)
        self.renew_credentials()
        self._preflight.request()

    def otlp_endpoint(self) -> OtlpEndpoint:
        """The cluster as a receiver of metrics."""
        return OtlpEndpoint(self._transport)

    def renew_credentials(self) -> None:
        """Read the credentials again. If they have changed, check what they permit."""
        self._transport.authorization.renew()
        renewals = self._transport.authorization.renewals
        if renewals == self._renewals:
            return
        self._renewals = renewals
        self._log.info(
            "credentials.renewed",
            message="new credentials are used; checking what they permit",
        )
        self._preflight.request()
        self._loop.retry()

    def _apply_report(self, found: PreflightReport, regained: bool) -> None:
        before, self._loop.ruleset = self._loop.ruleset, ruleset_of(self._config, found)
        # What only observes from now on needs no back-off after the refusal that has shown it.
        newly_observed = before.owned_observe_only is None and found.owned_rejected_because
        if regained or newly_observed:
            self._loop.state = without_denials(self._loop.state)

    async def release(self) -> None:
        """Leave every deployment as `on_exit` of its rule says. For use after `run` has ended."""
        if all(rule.on_exit is OnExit.KEEP for rule in self._loop.ruleset.rules):
            return
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                results = await self._loop.release_all()
        except TimeoutError:
            self._completed = False  # the last change may still take effect
            self._log.error(
                "daemon.release_timed_out",
                message="not every deployment was released within "
                f"{duration_text(RELEASE_TIMEOUT_S)}; "
                "run `autoscaler release` to release the others",
            )
            return
        for deployment_id, to, kind, detail in results:
            if kind is OutcomeKind.ACCEPTED:
                self._log.info(
                    "deployment.released",
                    message=f"{deployment_id} was released: {_RELEASE_TEXTS[to]}",
                    deployment=deployment_id,
                )
            else:
                self._log.error(
                    "deployment.release_failed",
                    message=f"{deployment_id} {_NOT_RELEASED.get(kind, 'was not released')}: "
                    f"{detail}",
                    deployment=deployment_id,
                )


_NOT_RELEASED = dict.fromkeys(
    (OutcomeKind.UNKNOWN, OutcomeKind.UNRECOGNISED), "may not have been released"
)

_NOT_SAVED = (
    'the state is not saved, because state is "none", or no directory for it is known; to save it, '
    "set state_dir"
)

_RELEASE_TEXTS = {
    OnExit.ADAPTIVE: "adaptive allocations are enabled",
    OnExit.FLOOR: "it has at least its safe_allocations",
}


def ruleset_of(config: Config, found: PreflightReport | None = None) -> Ruleset:
    """The configured rules, with the reason where the cluster would refuse their changes."""
    found = found or PreflightReport()
    return Ruleset(
        rules=tuple(
            replace(rule, observe_only=found.observe_only(rule.mode)) for rule in config.rules
        ),
        max_interval_s=MAX_INTERVAL_POLLS * config.polling.interval_s,
        polling=config.polling,
        owned_observe_only=found.owned_observe_only,
    )
