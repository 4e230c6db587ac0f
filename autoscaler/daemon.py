"""The composition root: what the daemon is made of, and how it starts and stops."""

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from autoscaler import __version__
from autoscaler.adapters.admin_http import AdminServer, DecisionRecorder, Health
from autoscaler.adapters.calendar import CronCalendar
from autoscaler.adapters.clock import HostClock
from autoscaler.adapters.elasticsearch.api import ElasticsearchApi
from autoscaler.adapters.elasticsearch.cluster import ElasticsearchCluster
from autoscaler.adapters.elasticsearch.connection import ApiKey, Basic, Bearer, Connection
from autoscaler.adapters.elasticsearch.preflight import PreflightReport, inspect
from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.adapters.logs import LogRecorder
from autoscaler.adapters.prometheus import PrometheusRecorder
from autoscaler.adapters.state_file import StateFile
from autoscaler.config import Config, ConfigError, what_needs_restart
from autoscaler.control_loop import ControlLoop
from autoscaler.core.flow.planning import MAX_INTERVAL_POLLS, Ruleset
from autoscaler.core.selection import OnExit
from autoscaler.core.state import State
from autoscaler.core.values import Mode, Observation, Outcome, OutcomeKind, Plan
from autoscaler.ports import Clock, CycleTimes, ObservationFailed, Recorder

STOP_TIMEOUT_S = 2.5
"""How long an update under way may take to finish after SIGTERM; with a scrape that hangs as well,
the end comes within five seconds."""

RELEASE_TIMEOUT_S = 20.0
"""How long handing deployments back may take at the end. Kubernetes waits thirty seconds."""

PREFLIGHT_INTERVAL_S = 900.0
"""How often a cluster that accepts no change is asked whether it does by now."""

RELOAD_INTERVAL_S = 5.0
"""How often the configuration file is compared with what is in force.

Reading is the one way of noticing that works on every mount, a ConfigMap's included.
"""

LoadConfig = Callable[[], Config]
"""Reads the configuration afresh.

Raises:
    ConfigError: it is not valid.
"""


class Daemon:
    """Everything that runs, from one configuration.

    Args:
        load: read at once and again at every reload.
        clock: of the control loop; the host's unless the cluster lives in another time.
        recorders: told of every cycle, besides the logs, the metrics and the probes.

    Raises:
        ConfigError: `load` finds the configuration not valid.
        ConnectionSettingsError: the connection cannot be made as configured.
        BedsideUnreadable: what was stopped and not started again cannot be read.
    """

    def __init__(
        self, load: LoadConfig, *, clock: Clock | None = None, recorders: tuple[Recorder, ...] = ()
    ) -> None:
        self._load = load
        self._log = structlog.get_logger("autoscaler")
        # Of the second one, connection, server and logging stay as they are until the end.
        self._config = self._config_at_start = config = load()
        self._refused = ""
        self._preflight = PreflightReport()
        self.started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._reload_now = asyncio.Event()
        self._clock = clock = clock or HostClock()
        registry = CollectorRegistry()
        self._metrics = PrometheusRecorder(registry, clock, __version__)
        self._metrics.config_accepted(config.fingerprint, config.poll_interval_s)
        self._health = Health(clock, config.poll_interval_s)
        decisions = DecisionRecorder(clock, __version__)
        self._transport = transport_to(config, clock)
        self._api = ElasticsearchApi(self._transport)
        cluster = ElasticsearchCluster(self._api, clock)
        state_store = StateFile(config.state_file) if config.state_file is not None else None
        self._loop = ControlLoop(
            clock=clock,
            observer=cluster,
            actuator=cluster,
            recorder=CompositeRecorder(
                LogRecorder(), self._metrics, self._health, decisions, *recorders
            ),
            ruleset=self._policy(),
            poll_interval_s=config.poll_interval_s,
            calendar=CronCalendar(),
            state_store=state_store,
            state=State(stopped=state_store.load() if state_store is not None else {}),
        )
        self.server = AdminServer(
            registry,
            self._health,
            decisions,
            host=config.server.host,
            port=config.server.port,
            version=__version__,
            resume=self._loop.resume,
        )

    async def run(self) -> None:
        """Run until asked to stop; then finish what was begun and close what was opened.

        Raises:
            CannotListen: the port for metrics and probes is not to be had.
        """
        with self._signals_handled():
            await self._serve()

    async def _serve(self) -> None:
        async with self._transport, self.server:
            self._log.info(
                "daemon.started",
                message=f"autoscaler {__version__} is running; metrics on port {self.server.port}",
                version=__version__,
                port=self.server.port,
                dry_run=self._config.dry_run,
                rules=len(self._config.rules),
            )
            self.started.set()
            await self._run_until_stopped()
            await self._release()
            self._log.info("daemon.stopped", message="autoscaler has stopped")

    def stop(self) -> None:
        """Stop soon: an update under way is finished, and nothing new is begun."""
        self._stopping.set()
        self._loop.stop()

    def reload(self) -> None:
        """Read the configuration again, changed or not."""
        self._reload_now.set()

    async def _run_until_stopped(self) -> None:
        """If one task fails, all end, and the process with them; its supervisor starts another."""
        works = (self._loop.run, self._reload_when_changed, self._stopping.wait)
        loop, *others = [asyncio.ensure_future(work()) for work in works]
        looking = asyncio.ensure_future(self._run_preflight())
        try:
            await asyncio.wait({loop, *others}, return_when=asyncio.FIRST_COMPLETED)
            self._loop.stop()
            await asyncio.wait({loop}, timeout=STOP_TIMEOUT_S)
        finally:
            tasks = (loop, looking, *others)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _release(self) -> None:
        if all(rule.on_exit is OnExit.KEEP for rule in self._loop.ruleset.rules):
            return
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                results = await self._loop.release_all()
        except TimeoutError:
            self._log.error(
                "daemon.release_timed_out",
                message="not every deployment could be handed back in time; "
                "`autoscaler release` does the rest",
            )
            return
        for deployment_id, to, kind, detail in results:
            if kind is OutcomeKind.ACCEPTED:
                self._log.info(
                    "deployment.released",
                    message=f"{deployment_id} was left to {_RELEASE_TEXTS[to]}",
                    deployment=deployment_id,
                )
            else:
                self._log.error(
                    "deployment.release_failed",
                    message=f"{deployment_id} could not be handed back: {detail}",
                    deployment=deployment_id,
                )

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        """Afterwards a signal means again what it meant before, for whoever goes on."""
        handlers = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
        }
        running = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            running.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number, meaning in before.items():
                running.remove_signal_handler(number)
                signal.signal(number, meaning)

    async def _run_preflight(self) -> None:
        """Say at once what a misconfigured cluster would otherwise reveal one refusal at a time.

        A lever that cannot be moved is not tried; whether that still holds is asked again.
        """
        while True:
            before, self._preflight = self._preflight, await inspect(self._api)
            refusals = self._refusals(self._preflight)
            for problem in self._preflight.problems:
                if problem not in before.problems and problem.sentence not in refusals:
                    self._log.warning("cluster.problem", message=problem.sentence)
            for reason in sorted(refusals - self._refusals(before)):
                self._log.warning("cluster.observe_only", message=f"only observing: {reason}")
            self._loop.ruleset = self._policy()
            if not any(map(self._preflight.rejection_of, Mode)):
                return
            await self._clock.sleep(PREFLIGHT_INTERVAL_S)

    def _refusals(self, found: PreflightReport) -> set[str]:
        """Why some rules can only observe."""
        return {found.rejection_of(rule.mode) for rule in self._config.rules} - {""}

    def _policy(self) -> Ruleset:
        return ruleset_of(self._config, self._preflight)

    async def _reload_when_changed(self) -> None:
        while True:
            asked = True
            try:
                await asyncio.wait_for(self._reload_now.wait(), RELOAD_INTERVAL_S)
            except TimeoutError:
                asked = False
            self._reload_now.clear()
            self._reload(asked=asked)

    def _reload(self, *, asked: bool) -> None:
        try:
            config = self._load()
        except ConfigError as error:
            if asked or str(error) != self._refused:
                self._log.error("config.reload_failed", message=f"the old one stays: {error}")
            self._refused = str(error)
            self._metrics.config_refused()
            return
        if config == self._config and not self._refused and not asked:
            return
        self._refused = ""
        self._metrics.config_accepted(config.fingerprint, config.poll_interval_s)
        self._health.poll_interval_s = config.poll_interval_s
        self._config = config
        self._loop.ruleset = self._policy()
        self._loop.poll_interval_s = config.poll_interval_s
        waiting = what_needs_restart(self._config_at_start, config)
        self._log.info(
            "config.reloaded",
            message="the configuration is in force"
            + (f", but for {', '.join(waiting)}, which need a restart" if waiting else ""),
            fingerprint=config.fingerprint,
        )


_RELEASE_TEXTS = {
    OnExit.ADAPTIVE: "the cluster's own scaler",
    OnExit.FLOOR: "itself, with a number that is safe",
}


class CompositeRecorder:
    """A Recorder made of Recorders."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def planned(
        self, observation: Observation, plan: Plan, outcomes: tuple[Outcome, ...], took: CycleTimes
    ) -> None:
        for recorder in self._recorders:
            recorder.planned(observation, plan, outcomes, took)

    def skipped(self, failure: ObservationFailed, at: float) -> None:
        for recorder in self._recorders:
            recorder.skipped(failure, at)


def ruleset_of(config: Config, found: PreflightReport | None = None) -> Ruleset:
    """The configured policy; as a dry run where the cluster accepts no change."""
    rules = tuple(
        replace(rule, dry_run=True) if found is not None and found.rejection_of(rule.mode) else rule
        for rule in config.rules
    )
    return Ruleset(rules=rules, max_interval_s=MAX_INTERVAL_POLLS * config.poll_interval_s)


def transport_to(config: Config, clock: Clock) -> Transport:
    """The way to the configured cluster.

    Raises:
        ConnectionSettingsError: it cannot be gone as configured.
    """
    settings = config.connection
    auth: ApiKey | Basic | Bearer | None = None
    if settings.api_key is not None:
        auth = ApiKey(settings.api_key)
    elif settings.username is not None:
        auth = Basic(settings.username, settings.password or "")
    elif settings.bearer_token is not None:
        auth = Bearer(settings.bearer_token)
    connection = Connection(
        hosts=settings.hosts,
        cloud_id=settings.cloud_id or "",
        auth=auth,
        ca_certs=settings.ca_certs,
        ca_fingerprint=settings.ca_fingerprint or "",
        client_certificate=settings.client_certificate,
        client_key=settings.client_key,
        request_timeout_s=settings.request_timeout_s,
    )
    return Transport(connection, clock, random.Random())
